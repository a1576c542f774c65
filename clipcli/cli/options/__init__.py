"""Options that several commands share, spelled once.

Each group is a frozen dataclass whose fields are Typer options. A command takes the group as one parameter, and
`expand_options` shows Typer the fields in its place:

    @app.command()
    @expand_options
    def classify(inputs: InputOptions, output: OutputOptions) -> None: ...

Imports no room that needs numpy, PIL or torch: `clip --help` reads these modules.
"""

from clipcli.cli.options.explanation import MapOptions, MapOutputOptions
from clipcli.cli.options.inputs import InputOptions, ReadingOptions
from clipcli.cli.options.labels import LabelOptions
from clipcli.cli.options.measuring.calibration import CalibrationOptions
from clipcli.cli.options.measuring.evaluation import CalibrateOutputOptions, EvaluationOptions, EvaluationOutputOptions
from clipcli.cli.options.measuring.labelled import LabelledOptions
from clipcli.cli.options.model import DeviceName, DtypeName, ModelName, ModelOptions, Profile, Revision
from clipcli.cli.options.output import (
    Format,
    FormatOptions,
    HitFormat,
    HitOutputOptions,
    OutputOptions,
    RunOutputOptions,
    TagFormat,
    TagOutputOptions,
    TalkOptions,
    decide_format,
    names_folder,
)
from clipcli.cli.options.panels import ACTIONS, INPUTS, LABELS, LIBRARY, MODEL, OUTPUT, QUERY, SCORING, SHARDS
from clipcli.cli.options.query import FilterOptions, LibraryName, NoUpdate, QueryOptions
from clipcli.cli.options.scoring import Scoring, ScoringName, Temperature, ThresholdOptions
from clipcli.cli.options.serving import ServeOptions
from clipcli.cli.options.shards import ShardOptions, TextColumn
from clipcli.cli.options.sidecars import SidecarName, SidecarOptions
from clipcli.cli.options.sorting import SortOptions, Undo
from clipcli.cli.shell.expand import expand_options

__all__ = [
    "ACTIONS",
    "INPUTS",
    "LABELS",
    "LIBRARY",
    "MODEL",
    "OUTPUT",
    "QUERY",
    "SCORING",
    "SHARDS",
    "CalibrateOutputOptions",
    "CalibrationOptions",
    "DeviceName",
    "DtypeName",
    "EvaluationOptions",
    "EvaluationOutputOptions",
    "FilterOptions",
    "Format",
    "FormatOptions",
    "HitFormat",
    "HitOutputOptions",
    "InputOptions",
    "LabelOptions",
    "LabelledOptions",
    "LibraryName",
    "MapOptions",
    "MapOutputOptions",
    "ModelName",
    "ModelOptions",
    "NoUpdate",
    "OutputOptions",
    "Profile",
    "QueryOptions",
    "ReadingOptions",
    "Revision",
    "RunOutputOptions",
    "Scoring",
    "ScoringName",
    "ServeOptions",
    "ShardOptions",
    "SidecarName",
    "SidecarOptions",
    "SortOptions",
    "TagFormat",
    "TagOutputOptions",
    "TalkOptions",
    "Temperature",
    "TextColumn",
    "ThresholdOptions",
    "Undo",
    "decide_format",
    "expand_options",
    "names_folder",
]
