"""What `clip eval` asks, and what it and `clip calibrate` write."""

from dataclasses import dataclass
from typing import Annotated

import typer

from clipcli.cli.options.output import TalkOptions
from clipcli.cli.options.panels import OUTPUT, SCORING


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What is asked."""

    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            help="Divide the logits by T; the default is 1, or the temperature of a calibrated label set.",
            rich_help_panel=SCORING,
        ),
    ] = None
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="OPTIONS",
            help='Compare with a second run that has other options, such as "--template photo-7".',
            rich_help_panel=SCORING,
        ),
    ] = None
    captions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Evaluate retrieval, of captions and of images, with this table of path and caption.",
            rich_help_panel=SCORING,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class EvaluationOutputOptions(TalkOptions):
    """What `clip eval` writes where."""

    predictions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.jsonl", help="Write the logits of every image as JSON Lines.", rich_help_panel=OUTPUT
        ),
    ] = None
    report: Annotated[
        str | None, typer.Option(metavar="FILE.html", help="Write an HTML report.", rich_help_panel=OUTPUT)
    ] = None

    def __post_init__(self) -> None:
        """Check where results shall go, before anything slow begins.

        Raises:
            UsageError: See `TalkOptions`.
            ClipError: A file cannot be written.
        """
        from clipcli.cli.output.destination import check_destination

        TalkOptions.__post_init__(self)
        check_destination(self.predictions, "--predictions")
        check_destination(self.report, "--report")


@dataclass(frozen=True, slots=True)
class CalibrateOutputOptions(TalkOptions):
    """What `clip calibrate` writes where."""

    into: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.yaml",
            help="Write the calibrated label set to this file: a new one, or one with the same labels. Required.",
            rich_help_panel=OUTPUT,
        ),
    ] = None

    def __post_init__(self) -> None:
        """Check where results shall go, before anything slow begins.

        Raises:
            UsageError: See `TalkOptions`.
            ClipError: A file cannot be written.
        """
        from clipcli.cli.output.destination import check_destination

        TalkOptions.__post_init__(self)
        check_destination(self.into, "--into")
