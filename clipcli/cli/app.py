"""The `clip` command: which commands there are, and nothing else."""

from typing import Annotated, Any

import typer

from clipcli.cli.shell.help import FrontPage
from clipcli.cli.shell.lazy import LazyCommands

# Where each command is: a function, or a Typer application with commands of its own.
COMMANDS = {
    "Ask": {
        "classify": "classify.classify",
        "score": "score.score",
        "tag": "tag.tag",
        "explain": "explain.explain",
    },
    "Find": {
        "search": "search.search",
        "dedupe": "dedupe.dedupe",
        "embed": "embed.embed",
        "filter": "filter.filter_scores",
        "library": "library.library_app",
    },
    "Measure": {"eval": "evaluate.evaluate", "calibrate": "calibrate.calibrate", "bench": "bench.bench"},
    "Serve": {"serve": "serve.serve"},
    "Manage": {
        "labels": "labels.labels_app",
        "models": "models.models_app",
        "cache": "cache.cache_app",
        "config": "config.config",
        "doctor": "doctor.doctor",
    },
}


class _Program(FrontPage):
    """The front page over commands that are imported when they are called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands("clipcli.cli.commands", COMMANDS)


app = typer.Typer(
    cls=_Program,
    no_args_is_help=True,
    rich_markup_mode=None,  # the import of rich takes longer than the whole of --help without it
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    help="""Classify, search and compare images with labels and texts of your own.

    \b
    clip classify img.jpg --labels cat,dog --model demo
    """,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from clipcli import __version__

        typer.echo(f"clip {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
