"""The `clip` command: registers one module a command, and nothing else."""

from typing import Annotated

import typer

from clipcli.cli.commands.bench import bench
from clipcli.cli.commands.cache import cache_app
from clipcli.cli.commands.calibrate import calibrate
from clipcli.cli.commands.classify import classify
from clipcli.cli.commands.config import config
from clipcli.cli.commands.dedupe import dedupe
from clipcli.cli.commands.doctor import doctor
from clipcli.cli.commands.embed import embed
from clipcli.cli.commands.evaluate import evaluate
from clipcli.cli.commands.explain import explain
from clipcli.cli.commands.filter import filter_scores
from clipcli.cli.commands.labels import labels_app
from clipcli.cli.commands.library import library_app
from clipcli.cli.commands.models import models_app
from clipcli.cli.commands.score import score
from clipcli.cli.commands.search import search
from clipcli.cli.commands.serve import serve
from clipcli.cli.commands.tag import tag
from clipcli.cli.shell.help import FrontPage, GroupedCommand

app = typer.Typer(
    cls=FrontPage,
    no_args_is_help=True,
    rich_markup_mode=None,  # the import of rich takes longer than the whole of --help without it
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    help="""Zero-shot vision: name, find and measure images with words that you make up.

    \b
    clip classify img.jpg --labels cat,dog --model demo
    """,
)
ASK, FIND, MEASURE, SERVE, MANAGE = "Ask", "Find", "Measure", "Serve", "Manage"
app.command(cls=GroupedCommand, rich_help_panel=ASK)(classify)
app.command(cls=GroupedCommand, rich_help_panel=ASK)(score)
app.command(cls=GroupedCommand, rich_help_panel=ASK)(tag)
app.command(cls=GroupedCommand, rich_help_panel=ASK)(explain)
app.command(cls=GroupedCommand, rich_help_panel=FIND)(search)
app.command(cls=GroupedCommand, rich_help_panel=FIND)(dedupe)
app.command(cls=GroupedCommand, rich_help_panel=FIND)(embed)
app.command("filter", cls=GroupedCommand, rich_help_panel=FIND)(filter_scores)
app.add_typer(library_app, name="library", rich_help_panel=FIND)
app.command("eval", cls=GroupedCommand, rich_help_panel=MEASURE)(evaluate)
app.command(cls=GroupedCommand, rich_help_panel=MEASURE)(calibrate)
app.command(cls=GroupedCommand, rich_help_panel=MEASURE)(bench)
app.command(cls=GroupedCommand, rich_help_panel=SERVE)(serve)
app.add_typer(labels_app, name="labels", rich_help_panel=MANAGE)
app.add_typer(models_app, name="models", rich_help_panel=MANAGE)
app.add_typer(cache_app, name="cache", rich_help_panel=MANAGE)
app.command(cls=GroupedCommand, rich_help_panel=MANAGE)(config)
app.command(cls=GroupedCommand, rich_help_panel=MANAGE)(doctor)


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
