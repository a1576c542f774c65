"""The metrics of `clip eval`: pure functions of numpy matrices, each with its source.

Rows are images (N), columns labels (C); `scores` are whatever ranks the labels, `truth` is the index of the right label
(N,), or which labels are right (N, C). **The truth loses ties**: a scorer that gives every label the same number gets
nothing right. All functions compute in float64 and return plain Python numbers, or arrays with one number per label.
They do not depend on labels, models or files.
"""

from clipcli.answers.metrics.calibration import (
    Reliability,
    brier,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
    softmax,
)
from clipcli.answers.metrics.classification import (
    chance,
    confusion,
    f1_per_label,
    macro_f1,
    majority,
    mean_per_class,
    recall_per_label,
    top_k_accuracy,
    true_ranks,
)
from clipcli.answers.metrics.intervals import (
    RESAMPLES,
    Interval,
    McNemar,
    bootstrap,
    bootstrap_all,
    mcnemar,
    paired_difference,
    wilson,
)
from clipcli.answers.metrics.ranking import (
    auroc,
    average_precision,
    average_precisions,
    false_positives_at_recall,
    mean_average_precision,
)
from clipcli.answers.metrics.retrieval import Retrieval, retrieval

__all__ = [
    "RESAMPLES",
    "Interval",
    "McNemar",
    "Reliability",
    "Retrieval",
    "auroc",
    "average_precision",
    "average_precisions",
    "bootstrap",
    "bootstrap_all",
    "brier",
    "chance",
    "confusion",
    "expected_calibration_error",
    "f1_per_label",
    "false_positives_at_recall",
    "macro_f1",
    "majority",
    "mcnemar",
    "mean_average_precision",
    "mean_per_class",
    "negative_log_likelihood",
    "paired_difference",
    "recall_per_label",
    "reliability",
    "retrieval",
    "softmax",
    "top_k_accuracy",
    "true_ranks",
    "wilson",
]
