"""`clip models`: which models there are, where they lie, and everything that is done with their files.

Imports neither torch nor the hub's client at the top: `list` and `--help` need neither.
"""

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.commands.convert import convert
from clipcli.cli.options.model import Revision
from clipcli.cli.options.output import FormatOptions
from clipcli.cli.output.destination import print_path
from clipcli.cli.output.documents.model_rows import describe_model, info_table, list_table, model_rows
from clipcli.cli.output.rows import Column, print_rows
from clipcli.cli.shell import completion
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.help import CommandGroup, GroupedCommand
from clipcli.cli.shell.terminal import printable
from clipcli.cli.shell.wording import size_text
from clipcli.errors import ClipError, DamagedModelError, UsageError

if TYPE_CHECKING:
    from clipcli.hub import ModelFiles

models_app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""List, download, convert, verify and remove models. One of them is the default.

    \b
    clip models list
    clip models pull vit-b32
    clip models default vit-b32
    """,
)

_ModelName = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="Alias, hub id, folder or file of a model, or demo.",
        autocompletion=completion.models,
        show_default=False,
    ),
]
_HubName = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="Alias or hub id of a model.", autocompletion=completion.models, show_default=False
    ),
]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]


@models_app.command("list", cls=GroupedCommand)
@expand_options
def list_models(
    options: FormatOptions,
    installed: Annotated[bool, typer.Option("--installed", help="List only models that are installed.")] = False,
) -> None:
    """List published models, and other installed models of these families. The default is marked with *.

    \b
    clip models list
    clip models list --installed
    clip models list --format csv --output models.csv
    """  # noqa: D301 - \b keeps lines apart
    rows = [row for row in model_rows() if row.folder or not installed]
    print_rows("clipcli.models/2", [asdict(row) for row in rows], list_table(rows), options)


@models_app.command(cls=GroupedCommand)
def pull(name: _HubName, revision: Revision = None, quiet: _Quiet = False) -> None:
    """Download or update a model. Installed files are checked; new and damaged ones are downloaded.

    \b
    clip models pull vit-b32
    clip models pull OFA-Sys/chinese-clip-vit-base-patch16
    """  # noqa: D301 - \b keeps lines apart
    from clipcli import hub
    from clipcli.cli.shell.progress import download_bar
    from clipcli.features.cache import open_cache
    from clipcli.features.late import hash_new_weights

    known = hub.find_checkpoint(name)
    if known is not None and known.license is not None and not quiet and not hub.is_here(name, revision=revision):
        say(f"{known.hub_id}: license {known.license}")
    with download_bar(name, quiet=quiet) as on_progress:
        model = hub.pull_model(name, revision=revision, on_progress=on_progress)
    if (model.folder / "config.json").is_file():  # other layouts are converted when they are first used
        hash_new_weights(open_cache(), model.folder, hub.weight_files(model.folder))
    if not quiet:
        say(f"{model.id} is ready (commit {model.revision})")
    print_path(model.folder)


@models_app.command(cls=GroupedCommand)
def path(name: _ModelName, revision: Revision = None) -> None:
    """Print the folder of an installed model. A file in another layout is converted first, as with --model.

    \b
    clip models path vit-b32
    cp -rL "$(clip models path vit-b32)" /media/stick/vit-b32
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.foreign.resolve import resolve_model

    print_path(resolve_model(name, revision=revision, fetch=False).folder)


@models_app.command(cls=GroupedCommand)
@expand_options
def info(options: FormatOptions, name: _ModelName, revision: Revision = None) -> None:
    """Show the details of a model, from the registry and, if it is installed, from its files.

    \b
    clip models info altclip
    clip models info demo --json
    """  # noqa: D301 - \b keeps lines apart
    row = describe_model(name, revision)
    print_rows("clipcli.model/2", [row], info_table(row), options)


@models_app.command(cls=GroupedCommand)
@expand_options
def verify(options: FormatOptions, name: _ModelName, revision: Revision = None) -> None:
    """Check every file of a model against its hash, without the network.

    A model without known hashes is opened instead, and its config and tokenizer are checked against each other.

    \b
    clip models verify vit-b32
    clip models verify ./my-model
    clip models verify ViT-B-32.pt
    """  # noqa: D301 - \b keeps lines apart
    from clipcli import hub
    from clipcli.foreign.check import verify_foreign
    from clipcli.foreign.resolve import is_foreign

    if revision is None and is_foreign(name):
        folder = None
        checks = verify_foreign(hub.local_path(name))
    else:
        folder = hub.model_folder(name, revision=revision)
        checks = hub.verify_files(folder)
    rows = [{"file": check.name, "size_bytes": check.size_bytes, "status": check.status} for check in checks]
    table = [
        Column("file", [check.name for check in checks]),
        Column("size", [size_text(check.size_bytes) for check in checks], right=True),
        Column("status", [check.status for check in checks]),
    ]
    print_rows("clipcli.verify/1", rows, table, options)
    bad = [f"{check.name} ({check.status})" for check in checks if check.status in ("damaged", "missing")]
    if bad:
        again = (
            "fetch or copy it again" if hub.is_local(name) else f"`clip models pull {name}` fetches such files again"
        )
        raise DamagedModelError(f"{name} is damaged: {', '.join(bad)}", hint=again)
    if folder is not None and any(check.status == "readable" for check in checks):
        _check_together(hub.ModelFiles(name, folder, None, "folder"))


@models_app.command(cls=GroupedCommand)
def rm(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...",
            help="Aliases or hub ids of models.",
            autocompletion=completion.stored_models,
            show_default=False,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    quiet: _Quiet = False,
) -> None:
    """Remove models from the hub's cache, which other programs also use.

    \b
    clip models rm vit-l14
    clip models rm altclip chinese-b16 --yes
    """  # noqa: D301 - \b keeps lines apart
    from clipcli import hub

    for name in names:
        if hub.is_local(name):
            raise UsageError(
                f"{name} was not fetched from the hub, so it is not removed",
                hint="`clip models list --installed` shows what can be removed; delete a folder of your own yourself",
            )
    removals = [hub.plan_removal(hub.hub_id_of(name)) for name in names]
    for removal in removals:
        freed = f"{removal.hub_id}: {size_text(removal.frees_bytes)} in {removal.folder}"
        if not yes:
            _confirm(freed)
        removal.execute()
        if not quiet:
            say(f"removed {freed}")


@models_app.command(cls=GroupedCommand)
def default(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="Alias, hub id, folder or file of a model, or demo.",
            autocompletion=completion.models,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show or set the model that is used without --model.

    A folder or file is checked first, a file in another layout is converted as with --model, and the absolute path is
    stored.

    \b
    clip models default
    clip models default chinese-b16
    clip models default ~/.cache/clip/ViT-B-32.pt
    """  # noqa: D301 - \b keeps lines apart
    from clipcli import hub
    from clipcli.foreign.resolve import resolve_model

    if name is not None:
        chosen = name
        if not hub.is_local(name):
            chosen = hub.hub_id_of(name)
        elif name != hub.DEMO:
            resolve_model(name)
            chosen = os.path.abspath(hub.local_path(name))
        say(f"default model set in {hub.set_default_model(chosen)}")
    override = os.environ.get("CLIPCLI_MODEL")
    if override:
        say(f"CLIPCLI_MODEL={override} is set and takes precedence")
    print_path(hub.default_model())


models_app.command(cls=GroupedCommand)(convert)


def _check_together(files: "ModelFiles") -> None:
    """Refuse files of which each is whole, but which are no model together; the weights are not compared.

    Raises:
        ModelError: Configuration, preprocessing or tokenizer do not fit.
    """
    from clipcli.checkpoints.open_clip import is_open_clip
    from clipcli.compute.checkpoint import Checkpoint
    from clipcli.foreign.check import foreign_config

    if is_open_clip(files.folder):
        foreign_config(files.folder)
        return
    checkpoint = Checkpoint(files)
    if checkpoint.config.vision is not None:
        checkpoint.preprocessing  # noqa: B018 - read to be checked
    if checkpoint.config.text is not None:
        checkpoint.tokenizer  # noqa: B018


def _confirm(what: str) -> None:
    if not _somebody_is_there():
        raise UsageError(
            f"cannot ask for confirmation before removing {what}", hint="add --yes to remove without confirmation"
        )
    if not typer.confirm(printable(f"Remove {what}?"), err=True):
        raise ClipError("nothing was removed")


def _somebody_is_there() -> bool:
    """Whether a question can be asked and answered: `input` needs all three streams."""
    return sys.stdin is not None and sys.stdin.isatty() and None not in (sys.stdout, sys.stderr)
