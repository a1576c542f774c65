"""What `classify` and `score` have in common: results out, counts, exit status."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from clipcli.cli.options import OutputOptions
from clipcli.cli.output import make_renderer
from clipcli.cli.output.destination import open_destination
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.interrupt import undisturbed
from clipcli.cli.shell.progress import image_counter
from clipcli.errors import ExitStatus
from clipcli.results import Record

if TYPE_CHECKING:
    from clipcli.api.model import Model

R = TypeVar("R", bound=Record)


def describe_run(model: "Model", **question: Any) -> dict[str, Any]:
    """What a JSON document says of the run."""
    from clipcli import __version__

    return {
        "version": __version__,
        "model": model.checkpoint.files.id,
        "revision": model.checkpoint.files.revision,
        "family": model.checkpoint.config.family,
        "device": model.encoders.placement.device,
        "dtype": model.encoders.placement.dtype,
        **question,
        "preprocessing": asdict(model.checkpoint.preprocessing),
    }


def print_results(
    schema: str, run: dict[str, Any], batches: Generator[Sequence[Record], None, None], output: OutputOptions
) -> None:
    """Write results as they come, then say what failed and leave with the status that fits.

    Raises:
        typer.Exit: With `ExitStatus.PARTIAL` if an image failed.
    """
    format = output.chosen_format()
    ok = failed = 0
    with open_destination(output.output) as destination, closing(batches):
        renderer = make_renderer(format, destination)
        # A table on the terminal is its own progress.
        shown = not (output.quiet or output.no_progress or destination.is_terminal)
        with image_counter(shown=shown) as count:
            # Nothing is written before the first batch is there: a run that fails at once prints no half document.
            first = list(islice(batches, 1))
            renderer.start(schema, run)
            try:
                for batch in chain(first, batches):
                    if output.fail_fast:
                        batch = until_failure(batch)
                    with undisturbed():  # the counts are those of the rows
                        renderer.write(batch)
                        failed += sum(record.error is not None for record in batch)
                        ok += sum(record.error is None for record in batch)
                    count(len(batch))
                    if failed and output.fail_fast:
                        break
            finally:  # after Ctrl-C, too, the document is whole
                renderer.finish({"images": ok + failed, "ok": ok, "failed": failed})
    if failed:
        if not output.quiet:
            say(stopped_text(ok) if output.fail_fast else failures_text(failed, ok + failed))
        raise typer.Exit(ExitStatus.PARTIAL)


def until_failure(batch: Sequence[R]) -> Sequence[R]:
    """A batch up to its first image that failed."""
    first = next((i for i, record in enumerate(batch) if record.error is not None), len(batch))
    return batch[: first + 1]


def stopped_text(ok: int) -> str:
    """What is said where `--fail-fast` has ended a run."""
    return f"stopped at the first image that could not be used (--fail-fast), after {ok:,} that could"


def failures_text(failed: int, images: int) -> str:
    """What is said of images that failed: "2 of 5 images could not be used; their rows say why"."""
    if images == 1:
        return "the image could not be used; its row says why"
    if failed == images:
        return f"none of the {images:,} images could be used; their rows say why"
    rows = "its row says" if failed == 1 else "their rows say"
    return f"{failed:,} of {images:,} images could not be used; {rows} why"
