"""`clip cache`: what is remembered of pictures and texts, and how to forget it. Nothing in it is ever lost for good."""

from dataclasses import asdict
from typing import Annotated

import typer

from clipcli.cli.boundary import handles_errors, say
from clipcli.cli.help import CommandGroup, GroupedCommand
from clipcli.cli.model_rows import size_text
from clipcli.cli.options import FormatOptions, expand_options
from clipcli.cli.render.rows import Column, print_rows

cache_app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Show and clear remembered features. What is cleared is computed again when it is needed.

    \b
    clip cache info
    clip cache clear --images
    """,
)


@cache_app.command(cls=GroupedCommand)
@handles_errors
@expand_options
def info(options: FormatOptions) -> None:
    """Show what is remembered, how large it is, and how often it was of use.

    \b
    clip cache info
    clip cache info --json
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.runtime.feature_cache import open_cache

    found = open_cache().info()
    row = {**asdict(found), "path": str(found.path)}
    kinds = {"images": found.image, "texts": found.text}
    lines = {
        "path": str(found.path),
        "size": f"{size_text(found.size_bytes)} of {size_text(found.limit_bytes)} (CLIPCLI_CACHE_MB)",
        **{
            name: f"{kind.features:,} features, {size_text(kind.size_bytes)}; "
            f"{kind.hits:,} found, {kind.misses:,} not found"
            for name, kind in kinds.items()
        },
        "files": f"{found.files:,} known without being read",
    }
    print_rows("clipcli.cache/1", [row], [Column("", [*lines]), Column("", [*lines.values()])], options)


@cache_app.command(cls=GroupedCommand)
@handles_errors
def clear(
    images: Annotated[bool, typer.Option("--images", help="Only what is remembered of pictures.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Only what is remembered of texts and labels.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Forget features: all of them, or those of one kind. Nothing needs them to stay.

    \b
    clip cache clear
    clip cache clear --images
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.runtime.feature_cache import Kind, open_cache

    chosen: dict[Kind, bool] = {"image": images, "text": text}
    kinds = [kind for kind, wanted in chosen.items() if wanted] or [*chosen]
    cache = open_cache()
    before = cache.info().size_bytes
    removed = cache.clear(kinds)
    if not quiet:
        say(f"forgot {removed:,} features, {size_text(max(0, before - cache.info().size_bytes))} freed")


@cache_app.command(cls=GroupedCommand)
@handles_errors
def path() -> None:
    """Print where the cache lies: in CLIPCLI_CACHE_DIR, else in the user's cache folder.

    \b
    clip cache path
    du -h "$(clip cache path)"
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.runtime.feature_cache import cache_path

    typer.echo(cache_path())
