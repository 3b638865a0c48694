"""Profiles against the packages they are named after, and figures that packages publish for given returns."""

import os
import warnings
from importlib import import_module

import numpy as np
import pytest
from admf.domain.bars import DAY
from admf.domain.measures import scratch_for
from admf.domain.metrics import METRICS, Curve, Profile, measure
from admf.domain.portfolio import Trades
from hypothesis import given, settings
from hypothesis import strategies as st

CAPITAL = 1000.0
WEEKDAYS_FROM = np.datetime64("2015-01-01", "ns")

seeds = st.integers(0, 2**32 - 1)
lengths = st.integers(5, 300)
idle = st.sampled_from([0.0, 0.3, 0.9])
years = st.sampled_from([12, 52, 252])


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


def measured(equity, close, time, profile, per_year):
    out = np.empty(len(METRICS))
    curve = Curve(time, close, equity, CAPITAL, 0, 0.0, 0.0, 0)
    scratch = scratch_for(equity.size)
    measure(int(profile), float(per_year), curve, Trades.empty(0), 0, np.empty(0, np.int64), scratch, out)
    return dict(zip(METRICS, out.tolist(), strict=True))


def measured_returns(returns, market=None, profile=Profile.ADMF, per_year=252.0):
    returns = np.array(returns, float)
    market = np.linspace(0.0, 0.01, returns.size) if market is None else market
    time = WEEKDAYS_FROM.astype(np.int64) + DAY * np.arange(returns.size, dtype=np.int64)
    return measured(CAPITAL * np.cumprod(1 + returns), 50 * np.cumprod(1 + market), time, profile, per_year)


def random_returns(seed, size, idle):
    """Returns of an account that is out of the market for a part of the time, and those of the market."""
    random = np.random.default_rng(seed)
    market = random.standard_t(4, size).clip(-20, 20) * 0.01
    market[0] = 0.0
    returns = 0.6 * market + random.normal(0.0005, 0.01, size)
    returns[random.random(size) < idle] = 0.0
    returns[-4:] = 0.01, -0.02, 0.005, -0.001  # where peers divide by 0, they differ from us
    return returns, market


def same(found, expected):
    """Compare by name; a peer's infinity, where it divides by zero, is our NaN."""
    for name, value in expected.items():
        value = float(value)
        value = np.nan if np.isinf(value) else value
        assert found[name] == pytest.approx(value, rel=1e-8, abs=1e-11, nan_ok=True), name


@settings(max_examples=60, deadline=None)
@given(seed=seeds, size=lengths, idle=idle, per_year=years)
def test_the_profile_empyrical_gives_the_figures_of_the_installed_package(
    empyrical, seed, size, idle, per_year
):
    r, m = random_returns(seed, size, idle)
    annual = {"annualization": per_year}
    with np.errstate(all="ignore"):
        expected = {
            "total_return": empyrical.cum_returns_final(r),
            "annual_return": empyrical.annual_return(r, **annual),
            "cagr": empyrical.cagr(r, **annual),
            "volatility": empyrical.annual_volatility(r, **annual),
            "downside_risk": empyrical.downside_risk(r, **annual),
            "sharpe_ratio": empyrical.sharpe_ratio(r, **annual),
            "sortino_ratio": empyrical.sortino_ratio(r, **annual),
            "calmar_ratio": empyrical.calmar_ratio(r, **annual),
            "omega_ratio": empyrical.omega_ratio(r, annualization=per_year),
            "information_ratio": empyrical.excess_sharpe(r, m),
            "alpha": empyrical.alpha_aligned(r, m, **annual),
            "beta": empyrical.beta_aligned(r, m),
            "max_drawdown": -empyrical.max_drawdown(r),
        }
    same(measured_returns(r, m, Profile.EMPYRICAL, per_year), expected)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, size=lengths, idle=idle, per_year=years)
def test_the_profile_quantstats_gives_the_figures_of_the_installed_package(
    quantstats, pandas, seed, size, idle, per_year
):
    values, m = random_returns(seed, size, idle)
    index = pandas.date_range("2015-01-01", periods=size)
    r, market = pandas.Series(values, index), pandas.Series(m, index)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of the peer, about what it calls
        drawdown = -quantstats.max_drawdown(r)
        greeks = quantstats.greeks(r, market, periods=per_year, prepare_returns=False)
        expected = {
            "total_return": quantstats.comp(r),
            "cagr": quantstats.cagr(r, periods=per_year),
            "annual_return": quantstats.cagr(r, periods=per_year),
            "volatility": quantstats.volatility(r, periods=per_year),
            "sharpe_ratio": quantstats.sharpe(r, periods=per_year),
            "sortino_ratio": quantstats.sortino(r, periods=per_year),
            "calmar_ratio": quantstats.calmar(r, periods=per_year),
            "omega_ratio": quantstats.omega(r, periods=per_year),
            "information_ratio": quantstats.information_ratio(r, market, prepare_returns=False),
            "alpha": greeks["alpha"],
            "beta": greeks["beta"],
            "skewness": quantstats.skew(r),
            "kurtosis": quantstats.kurtosis(r),
            "best_return": quantstats.best(r),
            "worst_return": quantstats.worst(r),
            "max_drawdown": drawdown,
            "ulcer_index": quantstats.ulcer_index(r),
            "recovery_factor": quantstats.recovery_factor(r),
            "win_rate": quantstats.win_rate(r),
            "average_win": quantstats.avg_win(r),
            "average_loss": quantstats.avg_loss(r),
            "payoff_ratio": quantstats.payoff_ratio(r),
            "profit_factor": quantstats.profit_factor(r),
            "kelly": quantstats.kelly_criterion(r),
            "max_consecutive_wins": quantstats.consecutive_wins(r),
            "max_consecutive_losses": quantstats.consecutive_losses(r),
            "exposure": quantstats.exposure(r),
        }
    same(measured_returns(values, m, Profile.QUANTSTATS, per_year), expected)


def test_sharpe_ratios_of_given_returns_are_those_that_nautilus_trader_and_empyrical_publish():
    nautilus = [0.01, -0.02, 0.015, -0.005, 0.025]
    assert measured_returns(nautilus)["sharpe_ratio"] == pytest.approx(4.48998886412873, rel=1e-12)
    # empyrical gives 1.72386... for the same with a first row that is not a number, which it leaves out.
    empyrical = np.array([1, 10, -4, 2, 3, 2, 1, -10]) / 100
    assert measured_returns(empyrical)["sharpe_ratio"] == pytest.approx(1.7238613961706866, rel=1e-12)


def test_sortino_ratios_of_given_returns_are_those_that_nautilus_trader_and_empyrical_publish():
    nautilus = [-0.01, 0.02, -0.015, 0.005, -0.02]
    assert measured_returns(nautilus)["sortino_ratio"] == pytest.approx(-5.273224492824493, rel=1e-12)
    empyrical = np.array([1, 10, -4, 2, 3, 2, 1, -10]) / 100
    assert measured_returns(empyrical)["sortino_ratio"] == pytest.approx(2.605531251673693, rel=1e-12)


def test_volatility_drawdown_risk_and_annual_return_are_those_that_empyrical_publishes():
    returns = np.array([0, 1, 10, -4, 2, 3, 2, 1, -10]) / 100  # its first row counts as a bar without return
    found = measured_returns(returns, profile=Profile.EMPYRICAL)
    assert found["annual_return"] == pytest.approx(1.9135925373194231, rel=1e-12)
    assert found["max_drawdown"] == pytest.approx(0.1, rel=1e-12)
    assert found["calmar_ratio"] == pytest.approx(19.135925373194233, rel=1e-12)
    without = measured_returns(returns[1:], profile=Profile.EMPYRICAL)
    assert without["volatility"] == pytest.approx(0.9136465399704637, rel=1e-12)
    assert without["downside_risk"] == pytest.approx(0.60448325038829653, rel=1e-12)


def test_the_sharpe_ratio_of_pybroker_differs_by_its_population_deviation():
    returns = [0.1, -0.2, 0.3, 0, -0.4, 0.5]
    ours = measured_returns(returns, per_year=1.0)
    assert ours["sharpe_ratio"] * np.sqrt(6 / 5) == pytest.approx(0.16744367165578425, rel=1e-12)
    assert ours["sortino_ratio"] == pytest.approx(0.273861278752583, rel=1e-12)


@pytest.mark.parametrize(
    ("first", "last", "days", "published"),
    [(64_900, 176_000, 3 * 365, 0.3945), (64_900, 176_000, 365, 1.7119), (1000, 1500, 100, 3.3927)],
)
def test_the_compound_annual_growth_of_freqtrade_differs_by_its_year_of_365_days(
    first, last, days, published
):
    ours = measured_growth(first, last, days)["cagr"]
    assert (1 + ours) ** (365 / 365.25) - 1 == pytest.approx(published, abs=5e-5)


def measured_growth(first, last, days):
    out = np.empty(len(METRICS))
    time = np.array([0, days * DAY])
    curve = Curve(time, np.ones(2), np.array([first, last], float), float(first), 0, 0.0, 0.0, 0)
    measure(0, 252.0, curve, Trades.empty(0), 0, np.empty(0, np.int64), scratch_for(2), out)
    return dict(zip(METRICS, out.tolist(), strict=True))
