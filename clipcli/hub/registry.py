"""The published checkpoints by name, and what is known of them before a download. Pure data, imports nothing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One published checkpoint.

    `revision` is the pinned commit, None where none is known: then the branch `main` is used.
    """

    alias: str
    hub_id: str
    family: str
    languages: tuple[str, ...]
    revision: str | None = None


DEMO = "demo"
DEFAULT_MODEL = "openai/clip-vit-base-patch32"

CHECKPOINTS = (
    Checkpoint("vit-b32", "openai/clip-vit-base-patch32", "clip", ("en",)),
    Checkpoint("vit-b16", "openai/clip-vit-base-patch16", "clip", ("en",)),
    Checkpoint("vit-l14", "openai/clip-vit-large-patch14", "clip", ("en",)),
    Checkpoint("vit-l14-336", "openai/clip-vit-large-patch14-336", "clip", ("en",)),
    Checkpoint("chinese-b16", "OFA-Sys/chinese-clip-vit-base-patch16", "chinese_clip", ("zh",)),
    Checkpoint("chinese-l14", "OFA-Sys/chinese-clip-vit-large-patch14", "chinese_clip", ("zh",)),
    Checkpoint("chinese-l14-336", "OFA-Sys/chinese-clip-vit-large-patch14-336px", "chinese_clip", ("zh",)),
    Checkpoint("chinese-h14", "OFA-Sys/chinese-clip-vit-huge-patch14", "chinese_clip", ("zh",)),
    Checkpoint("altclip", "BAAI/AltCLIP", "altclip", ("en", "zh")),
)


def find_checkpoint(name: str) -> Checkpoint | None:
    """The registry row of an alias or a hub id, or None."""
    return next((row for row in CHECKPOINTS if name in (row.alias, row.hub_id)), None)
