"""An evaluation as JSON, as rows, and as a table for people."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from clipcli.answers.metrics import Interval, f1_per_label
from clipcli.cli.output.destination import Destination
from clipcli.cli.output.rows import Column, Row, print_table
from clipcli.cli.shell.wording import counted

if TYPE_CHECKING:
    from clipcli.answers.evaluate import Evaluation
    from clipcli.api.evaluation.evaluate import Comparison, Evaluated, RetrievalResult

_WORST, _PAIRS = 10, 10
# What each figure is called for people; shares are printed in percent.
_HEADLINES = {
    "top_1": "top-1 accuracy",
    "top_5": "top-5 accuracy",
    "mean_per_class": "mean per class",
    "macro_f1": "macro F1",
    "mean_average_precision": "mean average precision",
    "calibration_error": "calibration error (ECE)",
    "calibration_error_mass": "ECE, bins of equal mass",
    "log_loss": "log loss (NLL)",
    "brier": "Brier score",
}
_NOT_SHARES = ("log_loss", "brier")


def figures(evaluation: "Evaluation") -> dict[str, Any]:
    """The headline figures with their intervals; what does not apply is null."""
    found: dict[str, Any] = {f"top_{k}": _interval(interval) for k, interval in evaluation.top.items()}
    found.setdefault("top_5", None)
    names = ("mean_per_class", "macro_f1", "mean_average_precision", "log_loss", "brier")
    found |= {name: _interval(getattr(evaluation, name)) for name in (*names, *_errors())}
    none = evaluation.none
    return {
        **found,
        "chance": evaluation.chance,
        "majority": evaluation.majority,
        "none": None
        if none is None
        else {
            "images": none.images,
            "auroc": _interval(none.auroc),
            "false_positives_at_95_recall": _interval(none.false_positives),
        },
    }


def _errors() -> tuple[str, str]:
    return "calibration_error", "calibration_error_mass"


def label_rows(evaluation: "Evaluation") -> list[Row]:
    """One row per label, in their order."""
    judged, count = evaluation.judged, len(evaluation.labels)
    f1 = f1_per_label(judged.truth, judged.predicted, count)
    support = evaluation.support
    taken_for: dict[int, tuple[int, int]] = {}
    for right, given, times in evaluation.confusions:
        taken_for.setdefault(right, (given, times))
    rows: list[Row] = []
    for i, label in enumerate(evaluation.labels):
        recall = evaluation.recall(i)
        other, times = taken_for.get(i, (None, 0))
        rows.append(
            {
                "label": label,
                "images": int(support[i]),
                "recall": _number(recall.value),
                "recall_low": recall.low,
                "recall_high": recall.high,
                "f1": _number(f1[i]),
                "average_precision": None if (ap := evaluation.average_precision) is None else _number(ap[i]),
                "auroc": None if (auroc := evaluation.auroc) is None else _number(auroc[i]),
                "taken_for": None if other is None else evaluation.labels[other],
                "times": times,
            }
        )
    return rows


def confusion_rows(evaluation: "Evaluation") -> list[Row]:
    """Every pair that was confused, most often first."""
    names = evaluation.labels
    return [{"label": names[right], "given": names[given], "images": n} for right, given, n in evaluation.confusions]


def reliability_rows(evaluation: "Evaluation") -> list[Row]:
    """One row a bin of the reliability diagram."""
    bins = evaluation.reliability
    columns = (bins.confidence.tolist(), bins.accuracy.tolist(), bins.images.tolist())
    return [{"confidence": c, "accuracy": a, "images": n} for c, a, n in zip(*columns, strict=True)]


def summary(evaluated: "Evaluated", failed: int) -> dict[str, Any]:
    """What was counted."""
    truth = evaluated.truth
    return {
        "images": len(truth.paths) + failed,
        "judged": evaluated.figures.images,
        "none": len(truth.paths) - evaluated.figures.images,
        "failed": failed,
        "unlabelled": truth.unlabelled,
        "unknown": dict(truth.unknown),
        "labels": len(evaluated.figures.labels),
        "labels_without_images": len(truth.without_images),
        "several_labels": sum(len(found) > 1 for found in truth.labels),
    }


def comparison_document(comparison: "Comparison", second: "Evaluated", name: str, run: Row) -> dict[str, Any]:
    """The second evaluation, and how it differs from the first."""
    return {
        "name": name,
        "run": run,
        "figures": figures(second.figures),
        "images": comparison.images,
        "difference": _interval(comparison.difference),
        "only_first": comparison.test.only_first,
        "only_second": comparison.test.only_second,
        "p": comparison.test.p,
    }


def write_table(destination: Destination, document: dict[str, Any]) -> None:
    """Headline, worst labels, most confused pairs, and the comparison."""
    other = document["comparison"]
    headings = [""] if other is None else ["first", "second"]
    both = [document["figures"], *([other["figures"]] if other else [])]
    print_table(_headline(both, headings), destination)
    none = document["figures"]["none"]
    if none is not None:
        destination.write(
            f"\nnone of the labels: AUROC {_spread(none['auroc'], 1)}\n"
            f"  {none['false_positives_at_95_recall']['value']:.1%} of {counted(none['images'], 'such image')} pass "
            "where 95% of the others do\n"
        )
    if other is not None:
        destination.write(f"\n{_verdict(other)}\n")
    worst = sorted((row for row in document["results"] if row["images"]), key=lambda row: (row["recall"], row["label"]))
    wrong = [row for row in worst if row["recall"] < 1][:_WORST]
    if wrong:
        destination.write("\n")
        print_table(_worst(wrong), destination)
    if document["confusions"]:
        destination.write("\n")
        print_table(_pairs(document["confusions"][:_PAIRS]), destination)


def _headline(both: Sequence[Row], headings: Sequence[str]) -> list[Column]:
    names = [name for name in _HEADLINES if any(found[name] is not None for found in both)]
    columns = [Column("", [*(_HEADLINES[name] for name in names), "chance", "most common label"])]
    for found, heading in zip(both, headings, strict=True):
        cells = ["" if found[name] is None else _shown(name, found[name]) for name in names]
        columns.append(Column(heading, [*cells, f"{found['chance']:.1%}", f"{found['majority']:.1%}"]))
    return columns


def _shown(name: str, figure: Row) -> str:
    if name in _NOT_SHARES:
        return f"{figure['value']:.3f}  ({figure['low']:.3f} to {figure['high']:.3f})"
    return f"{100 * figure['value']:.1f}%  ({_spread(figure, 100)})"


def _spread(figure: Row, factor: float) -> str:
    digits = 1 if factor > 1 else 3
    if figure["low"] is None:
        return f"{factor * figure['value']:.{digits}f}"
    low, high = (f"{factor * figure[end]:.{digits}f}" for end in ("low", "high"))
    return f"{low} to {high}" if factor > 1 else f"{figure['value']:.{digits}f} ({low} to {high})"


def _worst(rows: Sequence[Row]) -> list[Column]:
    return [
        Column("worst labels", [row["label"] for row in rows]),
        Column("images", [f"{row['images']:,}" for row in rows], right=True),
        Column("right", [f"{row['recall']:.1%}" for row in rows], right=True),
        Column("interval", [f"{100 * row['recall_low']:.0f} to {100 * row['recall_high']:.0f}%" for row in rows]),
        Column("most often taken for", [f"{row['taken_for']} ({row['times']:,})" for row in rows]),
    ]


def _pairs(rows: Sequence[Row]) -> list[Column]:
    return [
        Column("most confused: right label", [row["label"] for row in rows]),
        Column("given", [row["given"] for row in rows]),
        Column("images", [f"{row['images']:,}" for row in rows], right=True),
    ]


def in_words(document: Row) -> list[str]:
    """The accuracy and the comparison, for formats whose rows are labels."""
    other = document["comparison"]
    accuracy = f"{_HEADLINES['top_1']} {_shown('top_1', document['figures']['top_1'])}"
    return [accuracy, *(_verdict(other).splitlines() if other else [])]


def _verdict(other: Row) -> str:
    """The comparison as text, in lines short enough for a terminal."""
    difference = other["difference"]
    points = (
        f"{100 * difference['value']:+.1f} points ({100 * difference['low']:+.1f} to {100 * difference['high']:+.1f})"
    )
    flips = f"{other['only_first']:,} right only with the first, {other['only_second']:,} only with the second"
    sure = "no difference that these images could show" if other["p"] > 0.05 else "more than luck"
    test = f"McNemar p = {other['p']:.2g}: {sure}"
    return f"second minus first: {points} on {counted(other['images'], 'image')}\n  {flips}\n  {test}"


def retrieval_rows(result: "RetrievalResult") -> list[Row]:
    """One row a direction."""
    return [
        {
            "direction": direction,
            "queries": found.queries,
            "candidates": candidates,
            **_all(_ends(f"hit_at_{k}", found.hit_interval(k)) for k in found.hit_at),
            **_all(_ends(f"recall_at_{k}", found.recall_interval(k)) for k in found.recall_at),
            **_ends("median_rank", found.median_rank_interval),
        }
        for direction, found, candidates in (
            ("image to caption", result.image_to_text, result.captions),
            ("caption to image", result.text_to_image, result.images),
        )
    ]


def retrieval_columns(rows: Sequence[Row]) -> list[Column]:
    """The same for people."""
    hits = [name for name in rows[0] if name.startswith("hit") and f"{name}_low" in rows[0]]
    recalls = [name for name in rows[0] if name.startswith("recall") and f"{name}_low" in rows[0]]
    return [
        Column("", [row["direction"] for row in rows]),
        Column("queries", [f"{row['queries']:,}" for row in rows], right=True),
        *(Column(_share_name(name), [_hit(row, name) for row in rows], right=True) for name in hits),
        *(Column(_share_name(name), [f"{row[name]:.1%}" for row in rows], right=True) for name in recalls),
        Column("median rank", [f"{row['median_rank']:g}" for row in rows], right=True),
    ]


def _all(parts: Iterable[Row]) -> Row:
    return {name: value for part in parts for name, value in part.items()}


def _ends(name: str, figure: Interval) -> Row:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


def _hit(row: Row, name: str) -> str:
    return _shown(name, {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]})


def _share_name(name: str) -> str:
    return name.replace("_at_", "@")


def _interval(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None or math.isnan(interval.value):
        return None
    return {"value": interval.value, "low": _number(interval.low), "high": _number(interval.high)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
