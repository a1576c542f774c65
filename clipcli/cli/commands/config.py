"""`clip config`: the defaults of options, and where each comes from."""

from dataclasses import asdict

import typer

from clipcli.cli.options.model import Profile
from clipcli.cli.options.output import FormatOptions
from clipcli.cli.output.rows import Column, print_rows
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.defaults import all_defaults
from clipcli.cli.shell.expand import expand_options
from clipcli.settings import config_file


@expand_options
def config(ctx: typer.Context, output: FormatOptions, profile: Profile = None) -> None:
    """Show the default of each option and where it comes from.

    Options on the command line take precedence, then CLIPCLI_ variables, the profile, the top level of config.toml,
    and the built-in defaults.

    \b
    clip config
    clip config --profile work
    clip config --json
    """  # noqa: D301 - \b keeps lines apart
    rows = [asdict(found) for found in all_defaults(ctx.find_root().command, profile)]
    print_rows(
        "clipcli.config/1",
        rows,
        [
            Column("option", [f"--{row['option']}" for row in rows]),
            Column("value", [_shown(row["value"]) for row in rows]),
            Column("from", [row["origin"] for row in rows]),
        ],
        output,
        head={"file": str(config_file())},
    )
    if not config_file().exists():
        say(f"there is no {config_file()} yet", hint='for example: device = "cpu"')


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
