import json
import re
from pathlib import Path

import pytest

import clipcli
from clipcli.checkpoints.families import FAMILIES
from clipcli.hub import CHECKPOINTS, DEFAULT_MODEL, checkpoints_for, find_checkpoint
from clipcli.hub.registry import usual_revisions
from clipcli.text.classes import TOKENIZER_CLASSES


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


def test_every_family_has_its_tokenizer_and_every_checkpoint_a_family() -> None:
    assert {row.tokenizer for row in FAMILIES.values()} <= set(TOKENIZER_CLASSES)
    assert {row.family for row in CHECKPOINTS} <= set(FAMILIES)


@pytest.mark.parametrize("command", ["classify", "score", "tag"])
def test_the_schemas_name_the_families(command: str) -> None:
    (path,) = (Path(clipcli.__file__).parent / "schemas").glob(f"clipcli.{command}-*.json")
    run = json.loads(path.read_text(encoding="utf-8"))["$defs"]["run"]
    assert run["properties"]["family"]["enum"] == list(FAMILIES)


def test_checkpoints_for_a_language() -> None:
    assert "vit-b32" not in {row.alias for row in checkpoints_for("zh")}
    assert {"chinese-b16", "altclip"} <= {row.alias for row in checkpoints_for("zh")}
    thai = {row.alias for row in checkpoints_for("th")}
    assert {"altclip-m18", "siglip2-b16"} <= thai and not {"altclip-m9", "siglip-b16"} & thai
    assert checkpoints_for("tlh") == ()
