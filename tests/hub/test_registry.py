import re

import pytest

from clipcli.checkpoints import config
from clipcli.hub import CHECKPOINTS, DEFAULT_MODEL, checkpoints_for, find_checkpoint
from clipcli.hub.registry import FAMILIES, MODEL_TYPES, usual_revisions
from clipcli.text import families


def test_names_are_unique_and_short() -> None:
    aliases = [row.alias for row in CHECKPOINTS]
    ids = [row.hub_id.casefold() for row in CHECKPOINTS]

    assert len({*aliases, *ids, "demo"}) == 2 * len(CHECKPOINTS) + 1
    assert all(re.fullmatch(r"[a-z0-9-]{1,15}", alias) for alias in aliases)


def test_the_published_checkpoints_of_the_families_are_there() -> None:
    ids = {row.hub_id for row in CHECKPOINTS}

    assert {f"openai/clip-vit-{size}" for size in ("base-patch32", "base-patch16", "large-patch14")} <= ids
    assert {f"BAAI/AltCLIP{more}" for more in ("", "-m9", "-m18")} <= ids
    assert sum(row.family == "chinese_clip" for row in CHECKPOINTS) == 4


@pytest.mark.parametrize("name", ["vit-b32", "openai/clip-vit-base-patch32", "OpenAI/CLIP-ViT-Base-Patch32"])
def test_found_by_alias_and_id(name: str) -> None:
    row = find_checkpoint(name)

    assert row is not None and row.hub_id == DEFAULT_MODEL


def test_every_figure_has_a_source() -> None:
    for row in CHECKPOINTS:
        assert (row.imagenet_top1 is None) == (row.imagenet_source is None)


def test_a_download_is_four_bytes_a_parameter() -> None:
    row = find_checkpoint("vit-b32")

    assert row is not None and row.download_bytes == 605_109_252


def test_pins_are_whole_commits_each_of_one_model() -> None:
    pins = [row.revision for row in CHECKPOINTS if row.revision is not None]

    assert all(re.fullmatch(r"[0-9a-f]{40}", pin) for pin in pins)
    assert len(set(pins)) == len(pins)


def test_the_default_model_is_pinned_and_falls_back_to_the_branch() -> None:
    row = find_checkpoint(DEFAULT_MODEL)

    assert row is not None and row.revision is not None
    assert usual_revisions(DEFAULT_MODEL) == (row.revision, "main")
    assert usual_revisions("BAAI/AltCLIP") == usual_revisions("me/mine") == ("main",)


def test_the_rooms_that_may_not_import_each_other_name_the_same_families() -> None:
    assert set(FAMILIES) == set(config.FAMILIES) == set(families.FAMILIES)
    assert set(MODEL_TYPES) == {*config.FAMILIES, *config._VISION_ONLY, *config._TEXT_ONLY}


def test_checkpoints_for_a_language() -> None:
    assert "vit-b32" not in {row.alias for row in checkpoints_for("zh")}
    assert {"chinese-b16", "altclip"} <= {row.alias for row in checkpoints_for("zh")}
    assert {row.alias for row in checkpoints_for("th")} == {"altclip-m18"}
    assert checkpoints_for("tlh") == ()
