"""`clip serve`: a page for people and an API for programs, over a model that stays loaded."""

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcli.cli.options.inputs import ReadingOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.panels import LABELS, LIBRARY, OUTPUT
from clipcli.cli.options.query import NoUpdate
from clipcli.cli.options.serving import ServeOptions
from clipcli.cli.shell import completion
from clipcli.cli.shell.boundary import say, tell
from clipcli.cli.shell.expand import expand_options
from clipcli.errors import UsageError
from clipcli.files import dump

if TYPE_CHECKING:
    from clipcli.api.libraries.library import Library
    from clipcli.api.model import Model
    from clipcli.cli.output.documents.libraries import Access
    from clipcli.serve.app import Service
    from clipcli.serve.settings import Settings


@expand_options
def serve(
    *,
    library: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            envvar="CLIPCLI_LIBRARY",
            help="Let clients search this library, or the library of this folder of images.",
            rich_help_panel=LIBRARY,
        ),
    ] = None,
    no_update: NoUpdate = False,
    label_set: Annotated[
        list[str] | None,
        typer.Option(
            "--label-set",
            "-s",
            metavar="NAME|FILE",
            help="Offer this label set; the first one is used for requests without labels. Repeatable.",
            autocompletion=completion.label_sets,
            rich_help_panel=LABELS,
        ),
    ] = None,
    serving: ServeOptions,
    model: ModelOptions,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only errors, and no access log.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Start a server with a web page and an HTTP API.

    \b
    clip serve --model demo
    clip serve --library ~/photos --label-set photo-subjects
    clip serve --host 0.0.0.0 --api-key-file key.txt --allow-host photos.local
    """  # noqa: D301 - \b keeps lines apart
    try:
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401

        from clipcli.serve.server import address_of, listen, run
    except ImportError as error:
        raise UsageError(f"serving needs {error.name}", hint="pip install 'clipcli[serve]'") from error
    from clipcli.labels.library import find_label_set

    settings = serving.settings()
    label_sets = [find_label_set(name) for name in label_set or ()]
    with listen(settings) as listener:
        from clipcli.cli.output.documents.libraries import Access

        access = Access(model, quiet, bars=not quiet, reading=ReadingOptions(max_megapixels=serving.max_megapixels))
        chosen = _library(access, library, no_update) if library is not None else None
        engine = chosen.model if chosen is not None else access.open_model()
        service = _service(engine, chosen, settings)
        for each in label_sets:
            service.questions.offer(each)
        from clipcli.serve.app import make_app
        from clipcli.serve.compatible import routes

        log = _quiet if quiet else _log
        app = make_app(service, log, routes(service))
        address = address_of(listener)
        run(app, listener, partial(_ready, engine.checkpoint.id, address, quiet))


def _library(access: "Access", name: str, no_update: bool) -> "Library":
    from clipcli.library.index.places import find_library, library_folder

    place = find_library(name)
    if place is None and os.path.isdir(os.path.expanduser(name)):
        library = access.create([os.path.expanduser(name)], None)
    else:
        library = access.open(place or library_folder(name))
    access.bring_up(library, no_update=no_update)
    return library


def _service(model: "Model", library: "Library | None", settings: "Settings") -> "Service":
    from clipcli.api.libraries.library import Library
    from clipcli.library.index.store import Store
    from clipcli.serve.app import Service

    folder = None if library is None else library.folder
    return Service.start(settings, model, None if folder is None else lambda: Library(Store(folder), lambda: model))


def _ready(model: str, address: str, quiet: bool) -> None:
    if not quiet:
        say(f"serving {model} on {address}", hint="press Ctrl-C to stop it")


def _log(fields: Mapping[str, Any]) -> None:
    tell([dump(dict(fields))])


def _quiet(fields: Mapping[str, Any]) -> None:
    """No access log."""
