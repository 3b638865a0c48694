"""Reports on one equity curve, by hand and against what installed packages and their tests say."""

import os
import warnings
from importlib import import_module

import numpy as np
import pytest
from admf.domain.bars import DAY
from admf.domain.equity_curve import (
    deepest_drawdowns,
    equity_returns,
    monthly_returns,
    tail_risk,
    yearly_returns,
)
from admf.domain.measures import scratch_for
from admf.domain.metrics import METRICS, Curve, Profile, measure
from admf.domain.portfolio import Trades
from hypothesis import given, settings
from hypothesis import strategies as st


def peer(name):
    """Import a package of the `peers` extra."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(name)
    except ImportError:
        reason = f"{name} is not installed: pip install 'admf[peers]'"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def empyrical():
    return peer("empyrical")


@pytest.fixture(scope="module")
def quantstats():
    return peer("quantstats.stats")


@pytest.fixture(scope="module")
def pandas():
    return peer("pandas")


def times(*dates):
    return np.array(dates, "datetime64[ns]").astype(np.int64)


def rounded(rows):
    return [(*row[:-1], pytest.approx(row[-1])) for row in rows]


CHRISTMAS = times("2019-12-24", "2019-12-31T23:59", "2020-01-01T00:00", "2020-03-02", "2020-03-31")
EQUITY = np.array([1010, 1020, 1030, 1000, 1100.0])


def test_months_end_at_their_last_bar_in_utc_and_months_without_bars_are_left_out():
    expected = [(2019, 12, 0.02), (2020, 1, 1030 / 1020 - 1), (2020, 3, 1100 / 1030 - 1)]
    assert [tuple(row) for row in monthly_returns(CHRISTMAS, EQUITY, 1000.0)] == rounded(expected)


def test_years_end_at_their_last_bar():
    expected = [(2019, 0.02), (2020, 1100 / 1020 - 1)]
    assert [tuple(row) for row in yearly_returns(CHRISTMAS, EQUITY, 1000.0)] == rounded(expected)


def test_months_before_1970_have_their_names():
    (only,) = monthly_returns(times("1969-11-30"), np.array([1010.0]), 1000.0)
    assert (only.year, only.month) == (1969, 11)


def test_after_ruin_every_month_returns_nothing():
    values = monthly_returns(times("2020-01-31", "2020-02-28", "2020-03-31"), np.array([0, -5, 7.0]), 10.0)
    assert [row.value for row in values] == [-1.0, 0.0, 0.0]


def test_drawdowns_are_listed_by_depth_with_peak_trough_and_recovery():
    equity = np.array([990, 1000, 1100, 1045, 990, 1100, 1090, 1200, 1020.0])
    time = DAY * np.arange(9, dtype=np.int64)
    deepest, second, third, fourth = deepest_drawdowns(time, equity, 1000.0)
    assert (deepest.peak, deepest.trough, deepest.recovery) == (7 * DAY, 8 * DAY, None)
    assert (deepest.depth, deepest.days) == (pytest.approx(0.15), 1.0)
    assert (second.peak, second.trough, second.recovery) == (2 * DAY, 4 * DAY, 5 * DAY)
    assert (second.depth, second.days) == (pytest.approx(0.1), 3.0)
    assert (third.peak, third.depth) == (0, pytest.approx(0.01))  # from the capital
    assert (fourth.peak, fourth.trough, fourth.recovery) == (5 * DAY, 6 * DAY, 7 * DAY)
    assert deepest_drawdowns(time, equity, 1000.0, count=2) == (deepest, second)


def test_an_account_that_only_rises_has_no_drawdowns():
    assert deepest_drawdowns(times("2020-01-01", "2020-01-02"), np.array([1000.0, 1001.0]), 1000.0) == ()


curves = st.tuples(st.integers(0, 2**32 - 1), st.integers(2, 400))


def curve_of(seed, size):
    random = np.random.default_rng(seed)
    returns = random.normal(0.0005, 0.02, size) * (random.random(size) < 0.8)
    time = times("2017-02-03")[0] + DAY * np.cumsum(random.integers(1, 5, size))
    return time, 1000.0 * np.cumprod(1 + returns)


@settings(max_examples=60, deadline=None)
@given(curve=curves)
def test_reports_agree_with_the_metrics(curve):
    time, equity = curve_of(*curve)
    out = np.empty(len(METRICS))
    curve = Curve(time, equity, equity, 1000.0, 0, 0.0, 0.0, 0)
    scratch = scratch_for(equity.size)
    measure(0, 252.0, curve, Trades.empty(0), 0, np.empty(0, np.int64), scratch, out)
    metrics = dict(zip(METRICS, out.tolist(), strict=True))
    growth = equity[-1] / 1000.0
    assert np.prod([1 + row.value for row in monthly_returns(time, equity, 1000.0)]) == pytest.approx(growth)
    assert np.prod([1 + row.value for row in yearly_returns(time, equity, 1000.0)]) == pytest.approx(growth)
    assert np.prod(1 + equity_returns(1000.0, equity)) == pytest.approx(growth)
    drawdowns = deepest_drawdowns(time, equity, 1000.0, count=equity.size)
    assert max((d.depth for d in drawdowns), default=0.0) == pytest.approx(metrics["max_drawdown"], abs=1e-12)
    ends = [time[-1] if d.recovery is None else d.recovery for d in drawdowns]
    lasts = np.searchsorted(time, ends) - np.searchsorted(time, [d.peak for d in drawdowns]) > 1
    days = [d.days for d, counts in zip(drawdowns, lasts, strict=True) if counts]
    assert max(days, default=0.0) == pytest.approx(metrics["max_drawdown_days"])
    assert [d.depth for d in drawdowns] == sorted((d.depth for d in drawdowns), reverse=True)


def test_tail_ratio_and_stability_are_those_that_empyrical_publishes():
    """Of its tests (tests/test_stats.py, `mixed_returns`).

    It compares the tail ratio to one decimal: the figure is that of returns whose first row counts as zero,
    which the package leaves out today. The stability is without that row.
    """
    returns = np.array([0, 1, 10, -4, 2, 3, 2, 1, -10]) / 100
    assert tail_risk(returns).tail_ratio == pytest.approx(0.9473684210526313, rel=1e-12)
    assert tail_risk(returns[1:]).stability == pytest.approx(0.1529973665111273, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(curve=curves, cutoff=st.sampled_from([0.01, 0.05, 0.1]))
def test_tail_risk_is_that_of_the_installed_empyrical(empyrical, curve, cutoff):
    r = equity_returns(1000.0, curve_of(*curve)[1])
    found = tail_risk(r, Profile.EMPYRICAL, cutoff)
    assert found.value_at_risk == pytest.approx(empyrical.value_at_risk(r, cutoff), rel=1e-9)
    assert found.conditional_value_at_risk == pytest.approx(
        empyrical.conditional_value_at_risk(r, cutoff), rel=1e-9
    )
    if np.ptp(np.cumsum(np.log1p(r))) > 0:  # a constant level has a stability of zero there, of NaN here
        assert found.stability == pytest.approx(empyrical.stability_of_timeseries(r), rel=1e-6, abs=1e-9)
    five = tail_risk(r, Profile.EMPYRICAL)
    if np.percentile(r, 5) != 0:
        assert five.tail_ratio == pytest.approx(empyrical.tail_ratio(r), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(curve=curves, cutoff=st.sampled_from([0.01, 0.05, 0.1]))
def test_tail_risk_and_monthly_returns_are_those_of_the_installed_quantstats(
    quantstats, pandas, curve, cutoff
):
    time, equity = curve_of(*curve)
    r = equity_returns(1000.0, equity)
    series = pandas.Series(r, pandas.to_datetime(time))
    found = tail_risk(r, Profile.QUANTSTATS, cutoff)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peer, about what it calls
        at_risk = quantstats.value_at_risk(series, confidence=1 - cutoff)
        beyond = quantstats.conditional_value_at_risk(series, confidence=1 - cutoff)
        ratio = quantstats.tail_ratio(series, 1 - cutoff)
        table = quantstats.monthly_returns(series)
    if r.std() > 0:
        assert found.value_at_risk == pytest.approx(at_risk, rel=1e-9)
    assert found.conditional_value_at_risk == pytest.approx(beyond, rel=1e-9)
    assert found.tail_ratio == pytest.approx(ratio, rel=1e-9, nan_ok=True)
    for year, month, value in monthly_returns(time, equity, 1000.0):
        assert value == pytest.approx(table.loc[str(year)].iloc[month - 1], rel=1e-9, abs=1e-12)
    for year, value in yearly_returns(time, equity, 1000.0):
        assert value == pytest.approx(table.loc[str(year), "EOY"], rel=1e-9, abs=1e-12)


def test_without_change_or_with_nothing_left_there_is_no_stability():
    assert np.isnan(tail_risk(np.zeros(10)).stability)
    assert np.isnan(tail_risk(np.array([0.1, -1.0, 0.0])).stability)
    assert all(np.isnan(value) for value in tail_risk(np.empty(0)))
