"""What `classify` and `score` have in common: results out, counts, exit status."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from clipcli.cli.boundary import say
from clipcli.cli.options import Format, OutputOptions
from clipcli.cli.progress import picture_counter
from clipcli.cli.render import Record, make_renderer
from clipcli.cli.render.destination import open_destination
from clipcli.errors import ExitStatus

if TYPE_CHECKING:
    from clipcli.runtime.engine import Model


def describe_run(model: "Model", **question: Any) -> dict[str, Any]:
    """What a JSON document says of the run."""
    from clipcli import __version__

    return {
        "version": __version__,
        "model": model.files.id,
        "revision": model.files.revision,
        "family": model.config.family,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        **question,
        "preprocessing": asdict(model.preprocessing),
    }


def print_results(schema: str, run: dict[str, Any], batches: Iterable[Sequence[Record]], output: OutputOptions) -> None:
    """Write results as they come, then say what failed and leave with the status that fits.

    Raises:
        typer.Exit: With `ExitStatus.PARTIAL` if a picture failed.
    """
    format = output.chosen_format()
    ok = failed = 0
    with open_destination(output.output) as destination:
        renderer = make_renderer(format, destination)
        # A table on the terminal is its own progress.
        shown = not (output.quiet or output.no_progress or destination.is_terminal)
        with picture_counter(shown=shown) as count:
            renderer.start(schema, run)
            for batch in _until_failure(batches) if output.fail_fast else batches:
                renderer.write(batch)
                failed += sum(record.error is not None for record in batch)
                ok += sum(record.error is None for record in batch)
                count(len(batch))
            renderer.finish({"images": ok + failed, "ok": ok, "failed": failed})
    if failed:
        if not output.quiet and format is not Format.table:
            say(f"{failed} of {ok + failed} pictures failed; see the rows with an error")
        raise typer.Exit(ExitStatus.PARTIAL)


def _until_failure(batches: Iterable[Sequence[Record]]) -> Iterator[Sequence[Record]]:
    """Stop after the first picture that failed."""
    with closing(iter(batches)) as stream:  # type: ignore[type-var]
        for batch in stream:
            first = next((i for i, record in enumerate(batch) if record.error is not None), None)
            if first is not None:
                yield batch[: first + 1]
                return
            yield batch
