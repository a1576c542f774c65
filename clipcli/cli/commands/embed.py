"""`clip embed`: features of images and texts, for other programs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import names_folder
from clipcli.cli.options.panels import LABELS, OUTPUT
from clipcli.cli.options.shards import ShardOptions, TextColumn
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.wording import counted
from clipcli.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from clipcli.api.model import Model
    from clipcli.cli.output.documents.features import FeatureWriter
    from clipcli.images.find import ImageSource, Pause

_TEXTS_AT_ONCE = 1024


class FeatureFormat(StrEnum):
    """In which form features are written."""

    auto = "auto"
    npy = "npy"
    jsonl = "jsonl"
    parquet = "parquet"


class Layout(StrEnum):
    """What the files are for."""

    plain = "plain"
    clip_retrieval = "clip-retrieval"


class StoredType(StrEnum):
    """The numbers of `.npy` and Parquet."""

    float32 = "float32"
    float16 = "float16"


@dataclass(frozen=True, slots=True)
class FeatureOutputOptions:
    """Where features go."""

    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR/",
            help="Write to this file or folder instead of stdout.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    format: Annotated[
        FeatureFormat,
        typer.Option(
            "--format",
            "-f",
            help="Output format; auto uses the suffix of --output, or else jsonl.",
            rich_help_panel=OUTPUT,
        ),
    ] = FeatureFormat.auto
    layout: Annotated[
        Layout,
        typer.Option(help="clip-retrieval writes a folder for the program of that name.", rich_help_panel=OUTPUT),
    ] = Layout.plain
    stored: Annotated[
        StoredType,
        typer.Option(
            "--stored-as",
            help="Data type of the stored features; float16 takes half the space.",
            rich_help_panel=OUTPUT,
        ),
    ] = StoredType.float32
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue a .npy file where an earlier run stopped.", rich_help_panel=OUTPUT),
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.", rich_help_panel=OUTPUT)] = False
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="Do not show a progress bar.", rich_help_panel=OUTPUT)
    ] = False

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            UsageError: Options that do not go together.
            ClipError: `--output` cannot be written.
        """
        from clipcli.cli.output.destination import check_destination, check_folder

        if names_folder(self.output):
            return
        if self.layout is Layout.clip_retrieval:
            if self.output is None:
                raise UsageError("--layout clip-retrieval needs --output DIR", hint="name a folder for the files")
            check_folder(self.output, "--output")
        else:
            check_destination(self.output)
        if self.resume and self.form != "npy":
            raise UsageError("--resume needs --output FILE.npy", hint="leave it out, or write a .npy file")

    @property
    def form(self) -> str:
        """The format, `auto` decided."""
        if self.layout is Layout.clip_retrieval:
            return Layout.clip_retrieval.value
        if self.format is not FeatureFormat.auto:
            return self.format.value
        suffix = (self.output or "").rpartition(".")[2].lower()
        return suffix if suffix in (FeatureFormat.npy, FeatureFormat.parquet) else FeatureFormat.jsonl.value


@expand_options
def embed(
    inputs: InputOptions,
    *,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            "-t",
            metavar="TEXT",
            help="Encode this text instead of images. Repeatable.",
            rich_help_panel=LABELS,
        ),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Encode the texts in this file, one per line.", rich_help_panel=LABELS),
    ] = None,
    shards: ShardOptions,
    text_column: TextColumn = None,
    model: ModelOptions,
    output: FeatureOutputOptions,
) -> None:
    """Write the features of images or texts to a file.

    \b
    clip embed ~/photos --output photos.npy --resume
    clip embed --text "a dog" --text "a cat" --output words.npy
    clip embed ~/photos --layout clip-retrieval --output embeddings
    clip embed 'data/*.tar' --output features/
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.cli.output.documents.features import open_features
    from clipcli.cli.output.sharded import is_sharded

    only_files = {"--text": text, "--texts": texts, "--format": output.format is not FeatureFormat.auto}
    if is_sharded(inputs, output.output, shards, only_files) and output.output is not None:
        _embed_shards(inputs, shards, text_column, model, output, output.output)
        return
    of_texts = bool(text or texts)
    if of_texts and (inputs.images or inputs.from_file):
        raise UsageError("images and texts cannot be written to one file", hint="run it twice, with two files")
    words = list(_texts(text or [], texts)) if of_texts else []
    sources = None if of_texts else inputs.sources()
    engine = model.open(inputs, quiet=output.quiet, bars=not output.no_progress)
    if engine.class_names is not None:
        raise UsageError(f"{engine.checkpoint.id} has a classification head instead of features")
    with open_features(
        output.output,
        output.form,
        engine.checkpoint.config.projection_dim,
        output.stored.value,
        model=engine.checkpoint.id,
        key="text" if of_texts else "path",
        resume=output.resume,
    ) as (writer, done):
        if sources is None:
            _write_texts(engine, [word for word in words if word not in done], writer)
            failed = 0
        else:
            failed = _write_images(engine, _pending(sources, done), writer, output)
    if failed:
        raise typer.Exit(ExitStatus.PARTIAL)


def _embed_shards(
    inputs: InputOptions,
    shards: ShardOptions,
    text_column: str | None,
    model: ModelOptions,
    output: FeatureOutputOptions,
    folder: str,
) -> None:
    """Write one file per shard."""
    from clipcli.cli.output.sharded import run_shards
    from clipcli.scale.questions import Embed

    run_shards(
        Embed(output.stored.value, with_text=text_column is not None),
        inputs,
        shards,
        model,
        folder,
        layout="parquet" if output.layout is Layout.plain else output.layout.value,
        text_column=text_column,
        quiet=output.quiet,
        no_progress=output.no_progress,
    )


def _write_texts(engine: "Model", words: Sequence[str], writer: "FeatureWriter") -> None:
    stream = iter(words)
    while part := list(islice(stream, _TEXTS_AT_ONCE)):
        writer.write([{"text": word} for word in part], engine.encode_texts(part))


def _write_images(
    engine: "Model", sources: "Iterable[ImageSource | Pause]", writer: "FeatureWriter", output: FeatureOutputOptions
) -> int:
    """Write batches as they come; returns how many images failed."""
    import numpy as np

    from clipcli.cli.output.documents.libraries import update_bar
    from clipcli.features.reader import Failed
    from clipcli.results import Failure

    written = failed = 0
    to_file = output.output not in (None, "-")
    with update_bar(shown=to_file and not (output.quiet or output.no_progress), text="encoding") as (begin, advance):
        begin(None)
        for batch in engine.image_features(sources):
            good = [item for item in batch if not isinstance(item, Failed)]
            if good:
                writer.write([_row(item) for item in good], np.stack([item.features for item in good]))
            for item in batch:
                if isinstance(item, Failed):
                    failed += 1
                    failure = Failure.from_error(item.error)
                    writer.fail({"path": item.source.path, "error": {"type": failure.type, "message": failure.message}})
            written += len(good)
            advance(len(batch))
    if failed and not output.quiet:
        say(f"{counted(failed, 'image')} of {written + failed:,} could not be used")
    return failed


def _row(item: Any) -> dict[str, Any]:
    digest = {"digest": item.mark.digest.hex()} if item.mark is not None else {}
    return {"path": item.source.path, **digest}


def _pending(sources: "Iterable[ImageSource | Pause]", done: set[str]) -> "Iterator[ImageSource | Pause]":
    from clipcli.images.find import ImageSource

    return (source for source in sources if not (isinstance(source, ImageSource) and source.path in done))


def _texts(given: Sequence[str], path: str | None) -> Iterator[str]:
    yield from given
    if path is not None:
        try:
            with open(path, encoding="utf-8-sig") as file:
                yield from (line.rstrip("\r\n") for line in file if line.strip())
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UsageError(f"--texts {path}: {reason}", hint="give a text file with one text per line") from error
