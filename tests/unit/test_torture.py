"""A short stretch of every campaign; `make torture` runs a long one."""

from pathlib import Path
from types import ModuleType

import pytest

from tests.torture import (
    cache,
    campaign,
    checkpoints,
    disk,
    hub,
    images,
    kills,
    labels,
    library,
    manifests,
    runner,
    server,
    shards,
    sidecars,
    sorting,
)

# Trials, and how many kinds of them there must be at least.
STRETCHES = {
    cache: (30, 3),
    checkpoints: (40, 5),
    disk: (8, 4),
    hub: (5, 3),
    images: (300, 3),
    kills: (1, 1),
    labels: (20, 5),
    library: (4, 2),
    manifests: (100, 2),
    server: (150, 10),
    shards: (150, 8),
    sidecars: (60, 3),
    sorting: (2, 1),
}


def name_of(campaign: ModuleType) -> str:
    return campaign.__name__.rpartition(".")[2]


@pytest.mark.parametrize("module", STRETCHES, ids=name_of)
def test_a_campaign_holds(module: ModuleType) -> None:
    trials, kinds = STRETCHES[module]
    tried = campaign.run(module.trial, trials=trials, seed=1)
    assert tried.total() == trials
    assert len(tried) >= kinds, "all trials were alike"


def test_every_campaign_has_a_short_stretch() -> None:
    assert runner.names() == [name_of(module) for module in STRETCHES]


@pytest.mark.parametrize(
    ("way", "why"), [("raise", "ValueError: it fell"), ("die", "died with status 9"), ("hang", "no end after")]
)
def test_a_trial_that_fails_is_reported_and_the_next_one_tried(
    way: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.py").write_text(
        "import os, time\n"
        "def trial(rng, folder):\n"
        f"    way = {way!r} if not os.path.exists({str(tmp_path / 'fell')!r}) else 'hold'\n"
        f"    open({str(tmp_path / 'fell')!r}, 'w').close()\n"
        "    if way == 'raise': raise ValueError('it fell')\n"
        "    if way == 'die': os._exit(9)\n"
        "    if way == 'hang': time.sleep(100)\n"
        "    return 'held'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    outcome = runner.run("bad", 7, trials=3, seconds=None, package="", hangs_after_s=1)
    assert list(outcome.fallen) == [7] and why in outcome.fallen[7]
    assert outcome.held == {"held": 2}
