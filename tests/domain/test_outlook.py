"""Outlooks by resampling and reshuffling: what can be counted by hand comes out."""

from itertools import permutations

import numpy as np
import pytest
from admf.domain.statistics.outlook import resampled_outlook, reshuffled_outlook


def test_reshuffled_returns_have_the_drawdowns_of_all_orders():
    returns = np.array([0.5, -0.2, -0.3, 0.1])
    depths = []
    for order in permutations(returns.tolist()):
        value = np.cumprod([1.0, *(1.0 + r for r in order)])
        depths.append((1.0 - value / np.maximum.accumulate(value)).max())
    outlook = reshuffled_outlook(returns, 4, seed=1, samples=24_000)
    assert outlook.final == pytest.approx(np.prod(1.0 + returns) - 1.0)
    for depth in np.unique(np.round(depths, 9)):
        assert np.mean(np.isclose(outlook.drawdown, depth)) == pytest.approx(
            np.mean(np.isclose(depths, depth)), abs=0.015
        )


def test_a_part_of_the_returns_is_drawn_without_drawing_any_twice():
    returns = np.array([0.0, 0.0, -0.5])
    outlook = reshuffled_outlook(returns, 2, seed=1, samples=9_000)
    assert outlook.lowest.min() == 0.5
    assert np.mean(outlook.final < 0.0) == pytest.approx(2 / 3, abs=0.02)


def test_resampled_periods_may_be_longer_than_the_record_and_follow_its_chances():
    """A fair coin that doubles or halves: after two throws, a quarter of the values are a quarter."""
    returns = np.tile([1.0, -0.5], 50)
    outlook = resampled_outlook(returns, 2, seed=3, samples=20_000, block=1.0)
    assert np.mean(outlook.lowest == 0.25) == pytest.approx(0.25, abs=0.01)
    assert np.mean(outlook.final == 3.0) == pytest.approx(0.25, abs=0.01)
    assert resampled_outlook(returns[:5], 40, seed=3, samples=10).final.shape == (10,)


def test_blocks_keep_bad_days_together():
    returns = np.where(np.arange(1000) % 100 < 10, -0.02, 0.002)
    apart = resampled_outlook(returns, 250, seed=3, samples=500, block=1.0).drawdown
    together = resampled_outlook(returns, 250, seed=3, samples=500, block=30.0).drawdown
    assert np.quantile(together, 0.05) > 0.1
    assert np.quantile(together, 0.95) > np.quantile(apart, 0.95)


def test_what_lost_everything_stays_lost_and_chunks_change_no_shape():
    outlook = resampled_outlook(np.array([-1.5, 0.1]), 600_000, seed=1, samples=3, block=1.0)
    assert outlook.lowest.tolist() == [0.0] * 3
    assert outlook.final.tolist() == [-1.0] * 3
    assert outlook.drawdown.tolist() == [1.0] * 3
