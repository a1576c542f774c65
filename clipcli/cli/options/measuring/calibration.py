"""Thresholds from images whose labels are known."""

from dataclasses import dataclass
from typing import Annotated

import typer

from clipcli.cli.options.panels import CALIBRATION
from clipcli.errors import UsageError


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """Thresholds from images whose labels are known."""

    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|CSV",
            help="Deprecated, use `clip calibrate`: fit thresholds to labeled images.",
            rich_help_panel=CALIBRATION,
        ),
    ] = None
    calibrate_into: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Deprecated, use `clip calibrate`: write a label set with the thresholds.",
            rich_help_panel=CALIBRATION,
        ),
    ] = None

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            UsageError: One of the two without the other.
            ClipError: `--calibrate-into` cannot be written.
        """
        from clipcli.cli.output.destination import check_destination

        if (self.calibrate is None) != (self.calibrate_into is None):
            raise UsageError(
                "--calibrate and --calibrate-into go together",
                hint="clip tag --label-set pets --calibrate labeled/ --calibrate-into my-pets.yaml",
            )
        check_destination(self.calibrate_into, "--calibrate-into")
