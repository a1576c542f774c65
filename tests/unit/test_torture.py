"""A short stretch of every campaign; `python -m tests.torture.NAME --trials 500` runs a long one."""

import pytest

from tests.torture import cache, campaign, images, sidecars


@pytest.mark.parametrize(
    ("trial", "trials"),
    [(sidecars.trial, 60), (images.trial, 300), (cache.trial, 30)],
    ids=["sidecars", "images", "cache"],
)
def test_a_campaign_holds(trial: campaign.Trial, trials: int) -> None:
    tried = campaign.run(trial, trials=trials, seed=1)
    assert tried.total() == trials
    assert len(tried) > 2, "all trials were alike"
