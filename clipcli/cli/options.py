"""Options that several commands share, spelled once.

Each group is a frozen dataclass whose fields are Typer options. A command takes the group as one parameter, and
`expand_options` shows Typer the fields in its place:

    @app.command()
    @expand_options
    def classify(inputs: InputOptions, output: OutputOptions) -> None: ...

Imports no room that needs numpy, PIL or torch: `clip --help` reads this module.
"""

import inspect
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from clipcli.cli import completion
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.images.find import ImageSource
    from clipcli.labels.label_set import LabelSet
    from clipcli.runtime.engine import Model

INPUTS, LABELS, SCORING, MODEL, OUTPUT = "Inputs", "Labels", "Scoring", "Model", "Output"


class Format(StrEnum):
    """How results are printed."""

    auto = "auto"
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"


class Alpha(StrEnum):
    """What becomes of transparency."""

    white = "white"
    drop = "drop"


class ScoringName(StrEnum):
    """How scores are made of logits."""

    softmax = "softmax"
    sigmoid = "sigmoid"
    cosine = "cosine"


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter that is a dataclass of options by one parameter a field."""
    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    groups = {name: hints[name] for name in signature.parameters if is_dataclass(hints[name])}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        parameters.extend(_fields_as_parameters(groups[parameter.name]) if parameter.name in groups else [parameter])

    def expanded(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    expanded.__name__, expanded.__doc__, expanded.__module__ = command.__name__, command.__doc__, command.__module__
    expanded.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded


def _fields_as_parameters(group: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
        )


@dataclass(frozen=True, slots=True)
class InputOptions:
    """Which pictures."""

    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Files, folders (walked recursively), quoted globs, or - for one picture on stdin.",
            show_default=False,
            rich_help_panel=INPUTS,
        ),
    ] = None
    from_file: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Read paths from a file or stdin, one a line.", rich_help_panel=INPUTS),
    ] = None
    null_separated: Annotated[
        bool, typer.Option("--null", "-0", help="Paths of --from-file end in NUL.", rich_help_panel=INPUTS)
    ] = False
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Leave out what matches. Repeatable.", rich_help_panel=INPUTS),
    ] = None
    include_hidden: Annotated[
        bool, typer.Option("--include-hidden", help="Take hidden files and folders too.", rich_help_panel=INPUTS)
    ] = False
    follow_symlinks: Annotated[
        bool, typer.Option("--follow-symlinks", help="Walk into linked folders.", rich_help_panel=INPUTS)
    ] = False
    max_megapixels: Annotated[
        float, typer.Option(metavar="N", help="Refuse pictures that claim more pixels.", rich_help_panel=INPUTS)
    ] = 256
    no_exif: Annotated[
        bool, typer.Option("--no-exif", help="Do not turn pictures upright.", rich_help_panel=INPUTS)
    ] = False
    exact_decode: Annotated[
        bool,
        typer.Option("--exact-decode", help="Decode and scale large pictures exactly.", rich_help_panel=INPUTS),
    ] = False
    alpha: Annotated[Alpha, typer.Option(help="Lay transparency on white, or drop it.", rich_help_panel=INPUTS)] = (
        Alpha.white
    )

    def __post_init__(self) -> None:
        """Check what goes together, and the range.

        Raises:
            UsageError: `--null` without a list; `--max-megapixels` would refuse every picture, or is no number.
        """
        if self.null_separated and self.from_file is None:
            raise UsageError(
                "--null needs --from-file: it says how the paths in that list end",
                hint="add --from-file FILE, or --from-file - for stdin",
            )
        if not self.max_megapixels > 0:
            raise UsageError(f"--max-megapixels must be a number above 0, not {self.max_megapixels:g}")

    def sources(self) -> "Iterator[ImageSource]":
        """Find the pictures, lazily."""
        from clipcli.images.find import FindOptions, find_images

        options = FindOptions(tuple(self.exclude or ()), self.include_hidden, self.follow_symlinks)
        return find_images(
            self.images or [],
            options,
            from_file=self.from_file,
            null_separated=self.null_separated,
            stdin=sys.stdin.buffer if sys.stdin else io.BytesIO(),  # closed by whoever started us: as if empty
        )


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """Which labels, in which prompts."""

    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            "-l",
            metavar="A,B|@FILE",
            help="Labels as CSV, or a file with one a line. Repeatable.",
            rich_help_panel=LABELS,
        ),
    ] = None
    label_set: Annotated[
        str | None,
        typer.Option(
            "--label-set",
            "-s",
            metavar="NAME|FILE",
            help="Labels from a file, by its path or name (`clip labels list`).",
            autocompletion=completion.label_sets,
            rich_help_panel=LABELS,
        ),
    ] = None
    template: Annotated[
        list[str] | None,
        typer.Option(
            "--template",
            "-t",
            metavar="TEXT|NAME",
            help='"a photo of a {}.", or a file of such by name. Repeatable.',
            autocompletion=completion.templates,
            rich_help_panel=LABELS,
        ),
    ] = None
    no_template: Annotated[
        bool, typer.Option("--no-template", help="Give labels to the model as they are.", rich_help_panel=LABELS)
    ] = False

    def read(self) -> "LabelSet | None":
        """Read the labels; None where none are given.

        Raises:
            UsageError: Options that do not go together.
            LabelSetError: Labels that break the rules.
        """
        if self.labels and self.label_set:
            raise UsageError("--labels and --label-set do not go together", hint="use one of them")
        if self.template and self.no_template:
            raise UsageError("--template and --no-template do not go together", hint="use one of them")
        if self.label_set:
            from clipcli.labels.library import find_label_set

            return find_label_set(self.label_set)
        if self.labels:
            from clipcli.labels.parse import parse_labels

            return parse_labels(self.labels)
        return None

    def templates(self) -> tuple[str, ...] | None:
        """Templates that take the place of the label set's own; one without `{}` names a template file."""
        from clipcli.labels.library import find_templates

        if self.no_template:
            return ("{}",)
        if not self.template:
            return None
        found: list[str] = []
        for value in self.template:
            found.extend([value] if "{}" in value or " " in value else find_templates(value).templates)
        return tuple(found)


# Options by themselves, for commands that take some of a group.
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="ID|ALIAS|PATH",
        envvar="CLIPCLI_MODEL",
        help="Hub id, alias (`clip models list`), folder or file.",
        autocompletion=completion.models,
        rich_help_panel=MODEL,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        metavar="REV", envvar="CLIPCLI_REVISION", help="Branch, tag or commit on the hub.", rich_help_panel=MODEL
    ),
]
DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        "-d",
        metavar="DEVICE",
        envvar="CLIPCLI_DEVICE",
        help="auto, cpu, cuda[:N|:all], mps.",
        autocompletion=completion.devices,
        rich_help_panel=MODEL,
    ),
]
DtypeName = Annotated[
    str,
    typer.Option(
        metavar="DTYPE",
        envvar="CLIPCLI_DTYPE",
        help="auto, float32, bfloat16, float16, int8.",
        autocompletion=completion.dtypes,
        rich_help_panel=MODEL,
    ),
]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which model, and how to run it."""

    model: ModelName = None
    revision: Revision = None
    device: DeviceName = "auto"
    dtype: DtypeName = "auto"
    batch_size: Annotated[
        str,
        typer.Option(
            "--batch-size",
            "-b",
            metavar="N|auto",
            envvar="CLIPCLI_BATCH_SIZE",
            help="Pictures computed at once.",
            rich_help_panel=MODEL,
        ),
    ] = "auto"
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", envvar="CLIPCLI_WORKERS", help="Threads that decode.", rich_help_panel=MODEL),
    ] = None
    offline: Annotated[
        bool,
        typer.Option("--offline", envvar="CLIPCLI_OFFLINE", help="Never fetch anything.", rich_help_panel=MODEL),
    ] = False
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", envvar="CLIPCLI_NO_CACHE", help="Use and keep no features.", rich_help_panel=MODEL),
    ] = False

    def open(self, inputs: InputOptions, *, quiet: bool, bars: bool = True) -> "Model":
        """Find the model, fetching it if it must be, and make it ready.

        Args:
            inputs: How pictures are read.
            quiet: Say nothing.
            bars: Whether what takes long may show a bar.
        """
        from clipcli import hub
        from clipcli.cli.progress import download_bar, prompt_bar
        from clipcli.images.decode import DecodeOptions
        from clipcli.runtime.convert import resolve_model
        from clipcli.runtime.engine import Model
        from clipcli.runtime.parts import RunOptions, read_batch_size

        options = RunOptions(
            device=self.device,
            dtype=self.dtype,
            batch_size=read_batch_size(self.batch_size),
            workers=self.workers,
            decode=DecodeOptions(
                exif=not inputs.no_exif,
                alpha=inputs.alpha.value,
                max_megapixels=inputs.max_megapixels,
                exact=inputs.exact_decode,
            ),
            cache=not self.no_cache,
        )
        name = self.model or hub.default_model()
        with download_bar(name, quiet=quiet, bars=bars) as on_progress:
            files = resolve_model(name, revision=self.revision, offline=self.offline, on_progress=on_progress)
        return Model(files, options, text_progress=partial(prompt_bar, quiet=quiet or not bars))


def decide_format(format: Format, output: str | None) -> Format:
    """What `auto` means: a table for people, JSON Lines for programs."""
    if format is not Format.auto:
        return format
    on_terminal = output in (None, "-") and sys.stdout is not None and sys.stdout.isatty()
    return Format.table if on_terminal else Format.jsonl


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """In which form results are printed, and where."""

    format: Annotated[
        Format,
        typer.Option("--format", "-f", help="auto: table on a terminal, else jsonl.", rich_help_panel=OUTPUT),
    ] = Format.auto
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.", rich_help_panel=OUTPUT)] = False
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to a file, not stdout.", rich_help_panel=OUTPUT),
    ] = None

    def __post_init__(self) -> None:
        """Check what goes together, and where results shall go, before anything slow begins.

        Raises:
            UsageError: `--json` with another format.
            ClipError: `--output` cannot be written.
        """
        from clipcli.cli.render.destination import check_destination

        if self.json and self.format not in (Format.auto, Format.json):
            raise UsageError(f"--json and --format {self.format} do not go together", hint="use one of them")
        check_destination(self.output)

    def chosen_format(self) -> Format:
        """The format, `auto` decided."""
        return Format.json if self.json else decide_format(self.format, self.output)


@dataclass(frozen=True, slots=True)
class OutputOptions(FormatOptions):
    """What is printed where, of a run over pictures."""

    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=OUTPUT)] = (
        False
    )
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="Show no progress bar.", rich_help_panel=OUTPUT)
    ] = False
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first bad picture.", rich_help_panel=OUTPUT)
    ] = False
