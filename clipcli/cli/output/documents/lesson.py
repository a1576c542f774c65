"""What `clip labels teach` prints: how often labels are found before and after, by leave-one-out."""

from typing import TYPE_CHECKING, Any

from clipcli.cli.options.output import FormatOptions
from clipcli.cli.output.destination import Destination
from clipcli.cli.output.rows import Column, Row, print_rows, print_table

if TYPE_CHECKING:
    from clipcli.answers.metrics import Interval
    from clipcli.api.examples import Lesson

SCHEMA = "clipcli.lesson/1"


def print_lesson(lesson: "Lesson", options: FormatOptions) -> None:
    """Print what was learned in the format that was asked for; rows are the labels that have examples."""
    rows: list[Row] = [
        {
            "label": outcome.label,
            "examples": outcome.examples,
            "used": outcome.used,
            "before": outcome.before,
            "after": outcome.after,
        }
        for outcome in lesson.outcomes
    ]
    print_rows(SCHEMA, rows, lambda destination: _write_table(destination, lesson, rows), options, head=_head(lesson))


def _write_table(destination: Destination, lesson: "Lesson", rows: list[Row]) -> None:
    columns = [
        Column("label", [row["label"] for row in rows]),
        Column("examples", [str(row["examples"]) for row in rows], right=True),
        Column("used", [str(row["used"]) for row in rows], right=True),
        *(Column(key, [_per_cent(row[key]) for row in rows], right=True) for key in ("before", "after")),
    ]
    print_table(columns, destination)
    if lesson.after is not None:
        before = "" if lesson.before is None else f"{_interval(lesson.before)} before, "
        destination.write(
            f"\nGiven their own label, of {lesson.judged:,} examples each left out in turn: {before}"
            f"{_interval(lesson.after)} after; by chance {_per_cent(1 / len(lesson.label_set.labels))}\n"
        )


def _head(lesson: "Lesson") -> dict[str, Any]:
    taught = lesson.taught
    return {
        "judged": lesson.judged,
        "before": _document(lesson.before),
        "after": _document(lesson.after),
        "chance": 1 / len(lesson.label_set.labels),
        "strength": taught.strength,
        "text_weight": taught.text_weight,
        "copies": [{"path": copy, "of": first} for copy, first in lesson.copies],
    }


def _document(interval: "Interval | None") -> dict[str, float] | None:
    return None if interval is None else {"value": interval.value, "low": interval.low, "high": interval.high}


def _interval(interval: "Interval") -> str:
    return f"{_per_cent(interval.value)} ({interval.low:.0%} to {interval.high:.0%})"


def _per_cent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
