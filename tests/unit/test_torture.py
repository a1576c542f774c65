"""A short stretch of every campaign; `python -m tests.torture.NAME --trials 500` runs a long one."""

import pytest

from tests.torture import cache, campaign, checkpoints, images, library, manifests, server, shards, sidecars


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
    ],
    ids=["sidecars", "manifests", "images", "cache", "library", "checkpoints", "server", "shards"],
)
def test_a_campaign_holds(trial: campaign.Trial, trials: int, kinds: int) -> None:
    tried = campaign.run(trial, trials=trials, seed=1)
    assert tried.total() == trials
    assert len(tried) >= kinds, "all trials were alike"
