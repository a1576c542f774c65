"""How the model's numbers become scores."""

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
Temperature = Annotated[float, typer.Option(metavar="T", help="Above 1 flattens the scores.", rich_help_panel=SCORING)]
