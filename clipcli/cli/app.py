"""The `clip` command: registers one module a command, and nothing else."""

from typing import Annotated

import typer

from clipcli.cli.commands.bench import bench
from clipcli.cli.commands.cache import cache_app
from clipcli.cli.commands.calibrate import calibrate
from clipcli.cli.commands.classify import classify
from clipcli.cli.commands.dedupe import dedupe
from clipcli.cli.commands.doctor import doctor
from clipcli.cli.commands.embed import embed
from clipcli.cli.commands.evaluate import evaluate
from clipcli.cli.commands.labels import labels_app
from clipcli.cli.commands.library import library_app
from clipcli.cli.commands.models import models_app
from clipcli.cli.commands.score import score
from clipcli.cli.commands.search import search
from clipcli.cli.commands.tag import tag
from clipcli.cli.shell.help import CommandGroup, GroupedCommand

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # the import of rich takes longer than the whole of --help without it
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    help="""Zero-shot vision: name, find and measure images with words that you make up.

    \b
    clip classify img.jpg --labels cat,dog --model demo
    """,
)
app.command(cls=GroupedCommand)(classify)
app.command(cls=GroupedCommand)(score)
app.command(cls=GroupedCommand)(tag)
app.command("eval", cls=GroupedCommand)(evaluate)
app.command(cls=GroupedCommand)(calibrate)
app.command(cls=GroupedCommand)(search)
app.command(cls=GroupedCommand)(embed)
app.command(cls=GroupedCommand)(dedupe)
app.command(cls=GroupedCommand)(doctor)
app.command(cls=GroupedCommand)(bench)
app.add_typer(cache_app, name="cache")
app.add_typer(labels_app, name="labels")
app.add_typer(library_app, name="library")
app.add_typer(models_app, name="models")


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
