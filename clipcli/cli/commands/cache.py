"""`clip cache`: what is remembered of images, texts and converted models, and how to forget it.

Nothing in it is ever lost for good.
"""

from dataclasses import asdict
from typing import Annotated

import typer

from clipcli.cli.options.output import FormatOptions
from clipcli.cli.output.destination import print_path
from clipcli.cli.output.rows import Column, print_rows
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.help import CommandGroup, GroupedCommand
from clipcli.cli.shell.wording import counted, size_text

cache_app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Show and clear cached features and converted models. They are computed again when they are needed.

    \b
    clip cache info
    clip cache clear --images
    """,
)


@cache_app.command(cls=GroupedCommand)
@expand_options
def info(options: FormatOptions) -> None:
    """Show what is cached, how large it is, and how often it was used.

    \b
    clip cache info
    clip cache info --json
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.features.cache import open_cache
    from clipcli.foreign.kept import kept_conversions

    found, kept = open_cache().info(), kept_conversions()
    converted = {"path": str(kept.path), "models": len(kept.folders), "size_bytes": kept.size_bytes}
    row = {**asdict(found), "path": str(found.path), "converted": converted}
    kinds = {"images": found.image, "texts": found.text}
    lines = {
        "path": str(found.path),
        "size": f"{size_text(found.size_bytes)} of {size_text(found.limit_bytes)} (CLIPCLI_CACHE_MB)",
        **{
            name: f"{counted(kind.features, 'feature')}, {size_text(kind.size_bytes)}; "
            f"{kind.hits:,} found, {kind.misses:,} not found"
            for name, kind in kinds.items()
        },
        "files": f"{found.files:,} known without being read",
        "converted": f"{counted(len(kept.folders), 'model')}, {size_text(kept.size_bytes)} in {kept.path}",
    }
    print_rows("clipcli.cache/1", [row], [Column("", [*lines]), Column("", [*lines.values()])], options)


@cache_app.command(cls=GroupedCommand)
def clear(
    images: Annotated[bool, typer.Option("--images", help="Clear only cached features of images.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Clear only cached features of texts and labels.")] = False,
    converted: Annotated[
        bool, typer.Option("--converted", help="Clear only models converted from files given with --model.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Clear cached features and converted models: all, or one kind. They are computed again when they are needed.

    \b
    clip cache clear
    clip cache clear --images
    clip cache clear --converted
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.foreign.kept import forget_conversions, kept_conversions

    everything = not (images or text or converted)
    forgotten, freed = [], 0
    if everything or images or text:
        count, freed = _forget_features(images=images or everything, text=text or everything)
        forgotten.append(counted(count, "feature"))
    if everything or converted:
        freed += kept_conversions().size_bytes
        count = forget_conversions()
        if count or converted:
            forgotten.append(counted(count, "converted model"))
    if not quiet:
        say(f"forgot {' and '.join(forgotten)}, {size_text(freed)} freed")


def _forget_features(*, images: bool, text: bool) -> tuple[int, int]:
    """Forget features and return how many, and how many bytes that freed."""
    from clipcli.features.cache import Kind, open_cache

    chosen: dict[Kind, bool] = {"image": images, "text": text}
    cache = open_cache()
    before = cache.info().size_bytes
    count = cache.clear([kind for kind, wanted in chosen.items() if wanted])
    return count, max(0, before - cache.info().size_bytes)


@cache_app.command(cls=GroupedCommand)
def path() -> None:
    """Print the cache folder: CLIPCLI_CACHE_DIR, or else a folder in the user's cache.

    \b
    clip cache path
    du -h "$(clip cache path)"
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.features.cache import cache_path

    print_path(cache_path())
