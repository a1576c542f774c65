"""What `clip calibrate` prints: what was learned, and what it does for images that it was not learned from."""

from typing import TYPE_CHECKING, Any

from clipcli.cli.options.output import FormatOptions
from clipcli.cli.output.destination import Destination
from clipcli.cli.output.rows import Column, Row, print_rows, print_table

if TYPE_CHECKING:
    from clipcli.api.evaluation.calibrate import Calibrated

SCHEMA = "clipcli.calibration/3"


def print_calibration(learned: "Calibrated", options: FormatOptions) -> None:
    """Print a calibration in the format that was asked for; rows are the labels whose thresholds were fitted."""
    rows: list[Row] = [
        {
            "label": fit.label,
            "images": fit.images,
            "threshold": fit.threshold,
            "precision": fit.precision,
            "recall": fit.recall,
        }
        for fit in learned.thresholds
        if fit.threshold is not None
    ]
    document = _document(learned)
    print_rows(SCHEMA, rows, lambda destination: _write_table(destination, document, rows), options, head=document)


def _document(learned: "Calibrated") -> dict[str, Any]:
    """Everything but the thresholds; what was not fitted is null."""
    temperature, quality, sets, none = learned.temperature, learned.quality, learned.sets, learned.none
    return {
        "images": learned.images,
        "temperature": temperature
        and {"value": temperature.temperature, "low": temperature.low, "high": temperature.high},
        "quality": quality
        and {
            "log_loss": _change(quality.log_loss),
            "brier": _change(quality.brier),
            "calibration_error": quality.calibration_error and _change(quality.calibration_error),
        },
        "sets": sets
        and {
            "asked": sets.asked,
            "coverage": {"value": sets.coverage.value, "low": sets.coverage.low, "high": sets.coverage.high},
            "size": sets.size,
            "empty": sets.empty,
        },
        "none": none and {"below": none.below, "kept": none.kept, "refused": none.refused},
    }


def _change(values: tuple[float, float]) -> dict[str, float]:
    return {"before": values[0], "after": values[1]}


def _write_table(destination: Destination, document: dict[str, Any], rows: list[Row]) -> None:
    lines = _lines(document)
    if lines:
        names, cells = zip(*lines, strict=True)
        print_table([Column("", names), Column("", cells)], destination)
        destination.write("\n")
    columns = [
        Column("label", [row["label"] for row in rows]),
        Column("images", [str(row["images"]) for row in rows], right=True),
        Column("threshold", [f"{row['threshold']:.4g}" for row in rows], right=True),
        *(Column(name, [f"{row[name]:.3f}" for row in rows], right=True) for name in ("precision", "recall")),
    ]
    print_table(columns, destination)


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What there is to say besides thresholds: a name and its figures each."""
    lines = []
    if found["temperature"]:
        fit = found["temperature"]
        lines.append(("temperature", f"{fit['value']:.3f}  ({fit['low']:.3f} to {fit['high']:.3f})"))
    quality = found["quality"] or {}
    for key, name in (("log_loss", "log loss"), ("brier", "Brier score"), ("calibration_error", "calibration error")):
        if quality.get(key):
            lines.append((name, f"{quality[key]['before']:.4f} before, {quality[key]['after']:.4f} after"))
    if found["sets"]:
        sets = found["sets"]
        share = f"{sets['coverage']['value']:.1%} of {sets['asked']:.0%} asked for"
        lines.append(
            ("sets that hold the truth", f"{share}; {sets['size']:.2f} labels each, {sets['empty']:.1%} empty")
        )
    if found["none"]:
        none = found["none"]
        shares = f"{none['kept']:.1%} of the labeled images kept, {none['refused']:.1%} of the others refused"
        lines.append(("none below a cosine of", f"{none['below']:.4f}; {shares}"))
    return lines
