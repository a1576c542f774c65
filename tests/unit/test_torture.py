"""A short stretch of every campaign; `make torture` runs a long one."""

from pathlib import Path

import pytest

from tests.torture import (
    cache,
    campaign,
    checkpoints,
    disk,
    hub,
    images,
    labels,
    library,
    manifests,
    runner,
    server,
    shards,
    sidecars,
    sorting,
)


@pytest.mark.parametrize(
    ("trial", "trials", "kinds"),
    [
        (sidecars.trial, 60, 3),
        (manifests.trial, 100, 2),
        (images.trial, 300, 3),
        (cache.trial, 30, 3),
        (library.trial, 4, 2),
        (checkpoints.trial, 40, 5),
        (server.trial, 150, 10),
        (shards.trial, 150, 8),
        (labels.trial, 25, 6),
        (hub.trial, 5, 3),
        (sorting.trial, 2, 1),
        (disk.trial, 15, 6),
    ],
    ids=lambda value: value.__module__.rpartition(".")[2] if callable(value) else "",
)
)
def test_a_campaign_holds(trial: campaign.Trial, trials: int, kinds: int) -> None:
    tried = campaign.run(trial, trials=trials, seed=1)
    assert tried.total() == trials
    assert len(tried) >= kinds, "all trials were alike"


def test_every_campaign_has_a_short_stretch() -> None:
    modules = {name for name, value in globals().items() if hasattr(value, "trial")}
    assert set(runner.names()) == modules


@pytest.mark.parametrize(
    ("way", "why"), [("raise", "ValueError: it fell"), ("die", "died with status 9"), ("hang", "no end after")]
)
def test_a_trial_that_falls_is_told_and_the_next_one_tried(
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
