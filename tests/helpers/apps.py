"""A command of our own that fails as it is told to."""

import warnings
from typing import Annotated

import typer

from clipcli.cli.shell.help import GroupedCommand


def app_that_raises(problem: Exception) -> typer.Typer:
    app = typer.Typer()

    @app.command(cls=GroupedCommand)
    def paint(
        coats: Annotated[int, typer.Option(envvar="CLIPCLI_COATS")] = 2,
        colours: Annotated[list[str] | None, typer.Option()] = None,
        drying_time: Annotated[float, typer.Option()] = 1.0,
        wet: Annotated[bool, typer.Option("--wet")] = False,
        no_primer: Annotated[bool, typer.Option("--no-primer")] = False,
    ) -> None:
        if isinstance(problem, Warning):
            warnings.warn(problem, stacklevel=2)
        else:
            raise problem

    return app
