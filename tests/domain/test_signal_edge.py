"""What signals are worth: against statistics by hand, and on chance and an edge that was planted."""

import numpy as np
import pandas as pd
import pytest
from admf.domain.statistics.signal_edge import Views, edge_of, forward_returns, rank_correlation


def views(returns, *, apart=100, drift=0.0):
    returns = np.asarray(returns, np.float64)
    return Views(np.arange(returns.size) * apart, returns, np.full(returns.size, drift))


def test_signals_far_apart_have_the_plain_t_statistic():
    """Student (1908), additional sleep with two drugs: a mean of 1.58, t = 4.06 with 9 degrees of freedom."""
    sleep = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    edge = edge_of(views(sleep), 5)
    assert edge.mean_return == pytest.approx(1.58)
    assert edge.t_statistic == pytest.approx(4.0621, abs=1e-4)
    assert (edge.measured, edge.hit_rate) == (10, 0.9)
    assert edge_of(views(sleep, drift=1.58), 5).t_statistic == pytest.approx(0.0, abs=1e-12)


def test_the_standard_error_of_overlapping_signals_is_that_of_newey_and_west():
    chance, horizon, n = np.random.default_rng(1), 5, 200
    returns = np.convolve(chance.normal(0.1, 1.0, n + 4), np.ones(5), "valid")
    rest = returns - returns.mean()
    weights = np.maximum(1.0 - np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / horizon, 0.0)
    error = np.sqrt(rest @ weights @ rest / n / (n - 1))
    edge = edge_of(views(returns, apart=1), horizon)
    assert edge.t_statistic == pytest.approx(returns.mean() / error)
    assert edge.t_statistic < 0.6 * edge_of(views(returns), horizon).t_statistic


def test_overlapping_signals_on_random_walks_are_rarely_called_an_edge():
    found = []
    for seed in range(200):
        close = np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, 0.01, 1000)))
        ahead = forward_returns(close, 20)
        found.append(edge_of(Views(np.arange(1000), ahead, np.full(1000, np.nanmean(ahead[:500]) * 0)), 20))
    assert np.mean([abs(edge.t_statistic) > 2.5 for edge in found]) < 0.08
    assert {edge.measured for edge in found} == {980}


def test_forward_returns_look_ahead_so_many_bars_and_end_before_the_last():
    assert forward_returns(np.array([1.0, 2.0, 3.0]), 1) == pytest.approx([1.0, 0.5, np.nan], nan_ok=True)
    assert np.isnan(forward_returns(np.array([1.0, 2.0]), 2)).all()


def test_rank_correlation_is_that_of_pandas_with_ties_and_gaps():
    chance = np.random.default_rng(2)
    one, other = chance.integers(-2, 3, 300).astype(float), chance.normal(size=300)
    other[:9] = np.nan
    frame = pd.DataFrame({"one": one, "other": other}).dropna().rank()
    assert rank_correlation(one, other) == pytest.approx(frame["one"].corr(frame["other"]))
    assert np.isnan(rank_correlation(np.ones(5), np.arange(5.0)))


def test_what_is_not_there_is_not_measured():
    nothing = edge_of(views([np.nan]), 1)
    assert nothing.measured == 0
    assert np.isnan(nothing.mean_return)
    assert np.isnan(edge_of(views([0.3]), 1).t_statistic)
