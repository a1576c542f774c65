"""Which model, and how it is run."""

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.options.inputs import ReadingOptions
from clipcli.cli.options.panels import MODEL
from clipcli.cli.shell import completion
from clipcli.cli.shell.defaults import profile_callback

if TYPE_CHECKING:
    from clipcli.api.model import Model
    from clipcli.cli.shell.run_progress import RunProgress

# Options by themselves, for commands that take some of a group.
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="ID|ALIAS|PATH",
        envvar="CLIPCLI_MODEL",
        help="Use this model: an alias (`clip models list`), hub id, folder or file.",
        autocompletion=completion.models,
        rich_help_panel=MODEL,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        metavar="REV",
        envvar="CLIPCLI_REVISION",
        help="Use this branch, tag or commit of a hub model.",
        rich_help_panel=MODEL,
    ),
]
DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        "-d",
        metavar="DEVICE",
        envvar="CLIPCLI_DEVICE",
        help="Use this device: auto, cpu, cuda, cuda:N, cuda:all or mps.",
        autocompletion=completion.devices,
        rich_help_panel=MODEL,
    ),
]
DtypeName = Annotated[
    str,
    typer.Option(
        metavar="DTYPE",
        envvar="CLIPCLI_DTYPE",
        help="Use this data type: auto, float32, bfloat16, float16 or int8.",
        autocompletion=completion.dtypes,
        rich_help_panel=MODEL,
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="CLIPCLI_PROFILE",
        help="Use the defaults of this profile in config.toml (`clip config`).",
        callback=profile_callback,
        is_eager=True,
        rich_help_panel=MODEL,
    ),
]


class TextCleaning(StrEnum):
    """What is done to texts before they are tokenized."""

    auto = "auto"
    openai = "openai"
    none = "none"


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
            help="Encode this many images at once.",
            rich_help_panel=MODEL,
        ),
    ] = "auto"
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", envvar="CLIPCLI_WORKERS", help="Decode images with this many threads.", rich_help_panel=MODEL
        ),
    ] = None
    offline: Annotated[
        bool,
        typer.Option("--offline", envvar="CLIPCLI_OFFLINE", help="Never download anything.", rich_help_panel=MODEL),
    ] = False
    text_cleaning: Annotated[
        TextCleaning,
        typer.Option(
            envvar="CLIPCLI_TEXT_CLEANING",
            help="Clean texts as OpenAI's code does, or not at all; auto cleans them for checkpoints in OpenAI's or "
            "open_clip's layout.",
            rich_help_panel=MODEL,
        ),
    ] = TextCleaning.auto
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            envvar="CLIPCLI_NO_CACHE",
            help="Do not read or write the feature cache.",
            rich_help_panel=MODEL,
        ),
    ] = False

    profile: Profile = None

    def open(
        self, inputs: ReadingOptions, *, quiet: bool, bars: bool = True, progress: "RunProgress | None" = None
    ) -> "Model":
        """Find the model, fetching it if it must be, and make it ready.

        Args:
            inputs: How images are read.
            quiet: Say nothing.
            bars: Whether what takes long may show a bar.
            progress: Told of what takes long after the model was fetched, in place of bars.
        """
        from clipcli import hub
        from clipcli.api.model import Model
        from clipcli.cli.shell.progress import download_bar, prompt_bar
        from clipcli.compute.options import RunOptions, read_batch_size
        from clipcli.foreign.resolve import resolve_model
        from clipcli.images.decode import DecodeOptions

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
            text_cleaning=self.text_cleaning.value,
        )
        name = self.model or hub.default_model()
        with download_bar(name, quiet=quiet, bars=bars) as on_progress:
            files = resolve_model(name, revision=self.revision, offline=self.offline, on_progress=on_progress)
        if progress is None:
            return Model(files, options, text_progress=partial(prompt_bar, quiet=quiet or not bars))
        progress.loading(name)
        return Model(files, options, text_progress=progress.prompts)
