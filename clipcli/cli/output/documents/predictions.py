"""`clip eval --predictions`: every number of every image, from which all figures can be computed again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clipcli.cli.output.destination import open_destination
from clipcli.files import dump

if TYPE_CHECKING:
    from clipcli.api.evaluation.evaluate import Evaluated, Exam

SCHEMA = "clipcli.predictions/1"
_ROWS_AT_ONCE = 256


def write_predictions(path: str, run: Mapping[str, Any], exam: "Exam", evaluated: "Evaluated") -> None:
    """Write a line that describes the run, then a line for each image.

    Logits have nine digits, which is every bit of a float32.

    Raises:
        ClipError: The file cannot be written.
    """
    from clipcli.answers.judged import row_blocks

    labels, truth, judged = evaluated.figures.labels, evaluated.truth, evaluated.figures.judged
    with open_destination(path, "--predictions") as destination:
        destination.write(dump({"schema": SCHEMA, "run": dict(run), "labels": list(labels)}) + "\n")
        for rows in row_blocks(len(evaluated.labelled), _ROWS_AT_ONCE):
            logits = evaluated.logits_of(rows)
            for i, values in zip(range(rows.start, rows.stop), logits.tolist(), strict=True):
                image = int(evaluated.labelled[i])
                head = {
                    "path": truth.paths[image],
                    "status": "ok",
                    "truth": [labels[index] for index in truth.labels[image]],
                    "label": labels[int(judged.predicted[i])],
                    "score": float(judged.confidence[i]),
                    "rank": int(judged.rank[i]),
                }
                destination.write(_with_logits(head, values))
        for path_of, cosine in zip(evaluated.none_paths, evaluated.none_best.tolist(), strict=True):
            head = {"path": path_of, "status": "ok", "truth": [], "best": cosine}
            destination.write(dump(head) + "\n")
        for failed, error in exam.failures:
            row = {"path": failed, "status": "error", "error": {"type": type(error).__name__, "message": str(error)}}
            destination.write(dump(row) + "\n")
        destination.flush()


def _with_logits(head: Mapping[str, Any], values: list[float]) -> str:
    """A line; numbers are formatted by hand, ten times as fast as by the JSON writer."""
    return f'{dump(head)[:-1]}, "logits": [{", ".join([format(value, ".9g") for value in values])}]}}\n'
