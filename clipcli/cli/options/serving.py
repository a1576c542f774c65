"""Where `clip serve` listens, and who may ask."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.options.panels import ACCESS, LIMITS
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.serve.settings import Settings

_LEAST_KEY = 16


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where a server listens, who may ask, and how much."""

    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", envvar="CLIPCLI_HOST", help="Listen on this address.", rich_help_panel=ACCESS),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        typer.Option(
            "--port",
            "-p",
            metavar="N",
            envvar="CLIPCLI_PORT",
            help="Listen on this port; 0 for any free one.",
            rich_help_panel=ACCESS,
        ),
    ] = 7722
    api_key_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            envvar="CLIPCLI_API_KEY_FILE",
            help="Require clients to send the key in this file.",
            rich_help_panel=ACCESS,
        ),
    ] = None
    no_api_key: Annotated[
        bool,
        typer.Option("--no-api-key", help="Let everyone who can reach --host use the server.", rich_help_panel=ACCESS),
    ] = False
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also accept this host name in requests, such as photos.local. Repeatable.",
            rich_help_panel=ACCESS,
        ),
    ] = None
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Allow requests from pages of this site, such as https://example.org. Repeatable.",
            rich_help_panel=ACCESS,
        ),
    ] = None
    served_model_name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also accept this model name from OpenAI's clients, such as text-embedding-3-small. Repeatable.",
            rich_help_panel=ACCESS,
        ),
    ] = None
    immich_upstream: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Forward Immich's tasks other than CLIP to this server.", rich_help_panel=ACCESS
        ),
    ] = None
    max_upload_mb: Annotated[
        float,
        typer.Option(
            "--max-upload-mb", metavar="N", help="Refuse requests of more than N megabytes.", rich_help_panel=LIMITS
        ),
    ] = 32
    max_megapixels: Annotated[
        float, typer.Option(metavar="N", help="Refuse images of more than N megapixels.", rich_help_panel=LIMITS)
    ] = 100
    max_waiting: Annotated[
        int, typer.Option(metavar="N", help="Answer with status 429 when N images are waiting.", rich_help_panel=LIMITS)
    ] = 256

    def settings(self) -> "Settings":
        """What the server is run with.

        Raises:
            UsageError: Options that do not go together, or a key that cannot be read.
        """
        from clipcli.serve.settings import Settings

        if self.api_key_file is not None and self.no_api_key:
            raise UsageError("--api-key-file and --no-api-key do not go together", hint="use one of them")
        return Settings(
            host=self.host,
            port=self.port,
            key=None if self.api_key_file is None else _read_key(self.api_key_file),
            open_to_all=self.no_api_key,
            allowed_hosts=tuple(self.allow_host or ()),
            origins=tuple(self.cors or ()),
            max_upload_mb=self.max_upload_mb,
            max_waiting=self.max_waiting,
            served_model_names=tuple(self.served_model_name or ()),
            immich_upstream=self.immich_upstream,
        )


def _read_key(path: str) -> str:
    hint = "make one: python3 -c 'import secrets; print(secrets.token_urlsafe())' > FILE"
    try:
        key = Path(path).expanduser().read_text(encoding="ascii").strip()
    except OSError as error:
        raise UsageError(f"--api-key-file {path}: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError:
        raise UsageError(
            f"--api-key-file {path} contains other characters than plain letters and digits", hint=hint
        ) from None
    if len(key) < _LEAST_KEY or any(character.isspace() for character in key):
        raise UsageError(f"--api-key-file {path} holds no key of {_LEAST_KEY} characters or more", hint=hint)
    return key
