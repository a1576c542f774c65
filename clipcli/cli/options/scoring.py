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
    ScoringName, typer.Option(help="How logits become scores; auto: as the model was trained.", rich_help_panel=SCORING)
]
Temperature = Annotated[
    float | None,
    typer.Option(
        metavar="T",
        help="Divide the logits; above 1 flattens the scores. By default 1, or what a calibrated label set says.",
        rich_help_panel=SCORING,
    ),
]


@dataclass(frozen=True, slots=True)
class ThresholdOptions:
    """Which labels an image is given."""

    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Least score. By default a label's own threshold, or else 0.5.", rich_help_panel=SCORING
        ),
    ] = None
    top: Annotated[
        int | None,
        typer.Option("--top", "-k", metavar="N", help="At most N labels an image.", rich_help_panel=SCORING),
    ] = None
    exclusive: Annotated[
        list[str] | None,
        typer.Option(metavar="GROUP", help="Only the best label of a group. Repeatable.", rich_help_panel=SCORING),
    ] = None
