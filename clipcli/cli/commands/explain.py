"""`clip explain`: where in images labels match."""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import typer

from clipcli.cli.options.explanation import MapOptions, MapOutputOptions
from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.options.labels import LabelOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import Format
from clipcli.cli.output.shapes import EXPLAINED
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.wording import counted

if TYPE_CHECKING:
    from clipcli.answers.maps import Explanation
    from clipcli.api.model import Model
    from clipcli.cli.output.documents.maps import MapFiles
    from clipcli.cli.shell.run_progress import RunProgress
    from clipcli.labels.label_set import LabelSet


@expand_options
def explain(
    inputs: InputOptions,
    labels: LabelOptions,
    maps: MapOptions,
    model: ModelOptions,
    output: MapOutputOptions,
) -> None:
    """Show where in an image each label matches.

    \b
    clip explain img.jpg --labels cat,dog -o maps.png
    clip explain img.jpg --labels cat,dog | jq -c '.maps[] | {label, box}'
    clip explain ~/photos --label-set pets --top 3 --report maps.html
    clip explain ~/photos --labels cat,dog -o maps/ --npy maps/ --quality best
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.api.questions import no_labels
    from clipcli.cli.output.inputs import WatchedInputs
    from clipcli.cli.shell.progress import is_terminal_shared
    from clipcli.cli.shell.run_progress import run_progress

    output.check_count(inputs.images, inputs.from_file)
    options, label_set = maps.options(), labels.read()
    if label_set is None:
        raise no_labels()
    _say_of_labels(label_set, maps, output)
    watched = WatchedInputs(inputs, output.drawings)
    sources = iter(watched)  # what is wrong with the names is said first
    quiet_bars = output.quiet or output.no_progress or (output.rows.to_stdout and is_terminal_shared())
    with run_progress(shown=not quiet_bars) as progress:
        from clipcli.api.explain import explain_images
        from clipcli.api.questions import describe_explain

        engine = model.open(inputs, quiet=output.quiet, bars=not output.no_progress, progress=progress)
        templates = labels.templates()
        found = explain_images(engine, sources, label_set, options, templates=templates, at_hand=inputs.are_files)
        progress.images(0, watched.count_all)
        about = describe_explain(engine, label_set, templates, options)
        _run(found, engine, about, output, watched, progress)


def _run(
    found: "Generator[Explanation, None, None]",
    engine: "Model",
    about: dict[str, Any],
    output: MapOutputOptions,
    watched: Any,
    progress: "RunProgress",
) -> None:
    """Write what is found, and leave with the status that fits."""
    from clipcli.api.questions import describe_run
    from clipcli.cli.output import make_renderer
    from clipcli.cli.output.documents.maps import MapFiles
    from clipcli.cli.output.run import Run
    from clipcli.cli.output.summary import Tally

    rows = output.rows
    with MapFiles(output, f"Where {_listed(about['labels'])} match", engine.checkpoint.id) as files:
        run = Run(
            output=rows,
            renderer=lambda destination: make_renderer(rows.chosen_format(), destination, EXPLAINED),
            describe=lambda: describe_run(engine, **about),
            tally=Tally(EXPLAINED),
            progress=progress,
            each=lambda batch: _written(batch, files, output, progress),
            remarks=watched.remarks,
            keeps_features=engine.cache.usable,
        )
        end: typer.Exit | None = None
        try:
            run.execute(_batches(found))
        except typer.Exit as raised:  # the page is whole all the same
            end = raised
    if end is not None:
        raise end


def _batches(found: "Generator[Explanation, None, None]") -> "Generator[Sequence[Explanation], None, None]":
    with closing(found):
        for explanation in found:
            yield [explanation]


def _written(
    batch: "Sequence[Explanation]", files: "MapFiles", output: MapOutputOptions, progress: "RunProgress"
) -> "Sequence[Explanation]":
    """Write and show maps, before their rows are, which name the files."""
    from dataclasses import replace

    from clipcli.cli.output.destination import open_destination
    from clipcli.cli.output.documents.maps import shown

    found = []
    for explanation in batch:
        found.append(replace(explanation, files=files.write(explanation)))
        if output.shows and output.rows.to_stdout and output.rows.chosen_format() is Format.table:
            with progress.writing(), open_destination(None) as destination:
                if destination.can_redraw:
                    destination.write(shown(explanation, output.font))
    return found


def _listed(names: Sequence[str]) -> str:
    few = ", ".join(names[:4])
    return few if len(names) <= 4 else f"{few} and {len(names) - 4:,} others"


def _say_of_labels(label_set: "LabelSet", maps: MapOptions, output: MapOutputOptions) -> None:
    """Say which labels get no map, and which are not drawn by their name."""
    if output.quiet:
        return
    names = label_set.names
    if len(names) > maps.top:
        say(f"each image gets maps of the {counted(maps.top, 'label')} that fit it best, of {len(names):,}: see --top")
    if output.drawings or output.report:
        from clipcli.library.report.panels import drawn_as_numbers

        unknown = drawn_as_numbers(names, output.font)
        if unknown:
            hint = "install a font that has them, such as Noto Sans CJK, or name its file with --font"
            say(f"no font has the letters of {_listed(unknown)}: the maps show their numbers", hint=hint)
