"""How the model's numbers become scores."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from clipcli.cli.options.panels import SCORING


class ScoringName(StrEnum):
    """How scores are made of logits."""

    auto = "auto"
    softmax = "softmax"
    sigmoid = "sigmoid"
    cosine = "cosine"


Scoring = Annotated[
    ScoringName,
    typer.Option(
        help="How to compute scores from logits; auto is what the model was trained with.", rich_help_panel=SCORING
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        metavar="T",
        help="Divide the logits by T; above 1 flattens the scores. The default is 1, or the temperature of a "
        "calibrated label set.",
        rich_help_panel=SCORING,
    ),
]


@dataclass(frozen=True, slots=True)
class ThresholdOptions:
    """Which labels an image is given."""

    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Assign labels that score at least X; the default is a label's own threshold, or else 0.5.",
            rich_help_panel=SCORING,
        ),
    ] = None
    top: Annotated[
        int | None,
        typer.Option("--top", "-k", metavar="N", help="Assign at most N labels to an image.", rich_help_panel=SCORING),
    ] = None
    exclusive: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP", help="Assign only the best label of this group. Repeatable.", rich_help_panel=SCORING
        ),
    ] = None
