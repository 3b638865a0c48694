"""Every metric against plain numpy, and against figures that other packages publish for given returns."""

import numpy as np
import pytest
from admf.domain.bars import DAY
from admf.domain.errors import UnknownNameError
from admf.domain.metrics import (
    METRICS,
    MINIMIZED,
    Curve,
    Metric,
    Profile,
    measure,
    metric_profile,
    objective_direction,
)
from admf.domain.portfolio import Trades
from hypothesis import given, settings
from hypothesis import strategies as st

CAPITAL = 1000.0
NO_TRADES = Trades.empty(0)
TRADE_METRICS = METRICS[Metric.WIN_RATE : Metric.EXPOSURE]


def measured(
    equity,
    *,
    close=None,
    time=None,
    trades=NO_TRADES,
    fill_bar=(),
    per_year=252.0,
    profile=Profile.ADMF,
    held=0,
    traded=0.0,
    fees=0.0,
    warm=0,
    capital=CAPITAL,
):
    equity = np.array(equity, float)
    curve = Curve(
        DAY * np.arange(equity.size, dtype=np.int64) if time is None else time,
        np.linspace(50.0, 60.0, equity.size) if close is None else np.array(close, float),
        equity, capital, held, traded, fees, warm,
    )  # fmt: skip
    out = np.empty(len(METRICS))
    measure(int(profile), per_year, curve, trades, trades.pnl.size, np.array(fill_bar, np.int64), out)
    return dict(zip(METRICS, out.tolist(), strict=True))


def measured_returns(returns, **changes):
    return measured(CAPITAL * np.cumprod(1 + np.array(returns)), **changes)


def trades_of(*rows):
    """Trades of one unit from (entry fill, exit fill, entry price, profit)."""
    trades = Trades.empty(len(rows))
    for row, (entry, leave, price, pnl) in enumerate(rows):
        trades.entry_fill[row], trades.exit_fill[row] = entry, leave
        trades.quantity[row], trades.entry_price[row], trades.pnl[row] = 1.0, price, pnl
    return trades


def nan_ratio(above, below):
    return above / below if below else np.nan


def drawdowns(equity, time):
    """Depth and days of each stretch below the running peak, the capital being the first peak."""
    peak = np.maximum.accumulate(np.maximum(equity, CAPITAL))
    under = equity < peak
    found, since = [], 0
    for t in range(equity.size):
        if not under[t] or t == equity.size - 1:
            if t > since + 1:
                stretch = slice(since, t + 1)
                found.append(((1 - equity[stretch] / peak[stretch]).max(), (time[t] - time[since]) / DAY))
            since = t
    return 1 - equity / peak, found


def plain_metrics(equity, close, time, trades, fill_bar, per_year, held, traded, fees):
    """The table of `admf.domain.metrics` for the profile `admf`, in the words of numpy."""
    r = np.diff(equity, prepend=CAPITAL) / np.concatenate(([CAPITAL], equity[:-1]))
    m = np.diff(close, prepend=close[0]) / np.concatenate(([close[0]], close[:-1]))
    years = (time[-1] - time[0]) / DAY / 365.25
    growth = equity[-1] / CAPITAL
    depth, stretches = drawdowns(equity, time)
    beta = np.cov(r, m, ddof=1)[0, 1] / np.var(m, ddof=1)
    found = {
        "final_equity": equity[-1],
        "peak_equity": max(CAPITAL, equity.max()),
        "total_return": growth - 1,
        "buy_and_hold_return": close[-1] / close[0] - 1,
        "annual_return": growth ** (per_year / r.size) - 1,
        "cagr": growth ** (1 / years) - 1,
        "volatility": np.std(r, ddof=1) * np.sqrt(per_year),
        "sharpe_ratio": np.mean(r) / np.std(r, ddof=1) * np.sqrt(per_year),
        "sortino_ratio": nan_ratio(np.mean(r), np.sqrt(np.mean(np.minimum(r, 0) ** 2))) * np.sqrt(per_year),
        "calmar_ratio": nan_ratio(growth ** (per_year / r.size) - 1, depth.max()),
        "alpha": per_year * (np.mean(r) - beta * np.mean(m)),
        "beta": beta,
        "max_drawdown": depth.max(),
        "average_drawdown": np.mean([d for d, _ in stretches]) if stretches else 0.0,
        "max_drawdown_days": max([d for _, d in stretches], default=0.0),
        "average_drawdown_days": np.mean([d for _, d in stretches]) if stretches else 0.0,
        "exposure": held / r.size,
        "turnover": traded / np.mean(equity) / years,
        "fees": fees,
    }
    return found | plain_trade_metrics(trades, time, fill_bar)


def plain_trade_metrics(trades, time, fill_bar):
    closed = trades.exit_fill >= 0
    p = trades.pnl[closed]
    if not p.size:
        return {"trades": 0} | dict.fromkeys(TRADE_METRICS, np.nan)
    q = p / (trades.quantity * trades.entry_price)[closed]
    days = (time[fill_bar[trades.exit_fill[closed]]] - time[fill_bar[trades.entry_fill[closed]]]) / DAY
    gains, losses, won = p[p > 0], -p[p < 0], np.mean(p > 0)
    spread = np.std(p, ddof=1) if p.size > 1 else np.nan
    return {
        "trades": p.size,
        "win_rate": won,
        "best_trade": q.max(),
        "worst_trade": q.min(),
        "average_trade": q.mean(),
        "max_trade_days": days.max(),
        "average_trade_days": days.mean(),
        "profit_factor": nan_ratio(gains.sum(), losses.sum()),
        "expectancy": p.mean(),
        "sqn": np.sqrt(p.size) * p.mean() / spread,
        "kelly": won - (1 - won) / (gains.mean() / losses.mean()) if gains.size and losses.size else np.nan,
    }


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), bars=st.integers(4, 120), count=st.integers(0, 12))
def test_every_metric_is_its_documented_formula(seed, bars, count):
    random = np.random.default_rng(seed)
    equity = CAPITAL * np.cumprod(1 + random.normal(0, 0.03, bars).clip(-0.5))
    close = 50 * np.cumprod(1 + random.normal(0, 0.02, bars))
    time = DAY * np.cumsum(random.integers(1, 5, bars))
    fill_bar = np.sort(random.integers(0, bars, 2 * count))
    trades = trades_of(
        *(
            (2 * i, 2 * i + 1, price, pnl)
            for i, (price, pnl) in enumerate(
                zip(random.uniform(10, 90, count), random.normal(1, 8, count), strict=True)
            )
        )
    )
    if count:
        trades.exit_fill[-1] = random.choice([-1, 2 * count - 1])
    per_year, held = float(random.choice([12, 52, 252])), int(random.integers(0, bars))
    traded, fees = random.uniform(0, 1e5, 2)
    expected = plain_metrics(equity, close, time, trades, fill_bar, per_year, held, traded, fees)
    found = measured(
        equity, close=close, time=time, trades=trades, fill_bar=fill_bar, per_year=per_year, held=held,
        traded=traded, fees=fees,
    )  # fmt: skip
    assert set(expected) == set(METRICS)
    for name in METRICS:
        assert found[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-9, nan_ok=True), name


def test_a_flat_curve_has_no_ratios():
    found = measured([CAPITAL] * 10)
    zero = {"total_return", "annual_return", "cagr", "volatility", "alpha", "beta", "max_drawdown"}
    assert {name: found[name] for name in zero} == dict.fromkeys(zero, 0.0)
    for name in ("sharpe_ratio", "sortino_ratio", "calmar_ratio"):
        assert np.isnan(found[name]), name


@pytest.mark.parametrize("profile", list(Profile))
def test_without_trades_nothing_is_said_about_them(profile):
    found = measured([CAPITAL] * 10, profile=profile)
    assert found["trades"] == 0
    for name in TRADE_METRICS:
        assert np.isnan(found[name]), name


def test_a_market_that_does_not_move_has_no_beta():
    found = measured([1000, 1010, 1020], close=[50, 50, 50])
    assert np.isnan(found["beta"])
    assert np.isnan(found["alpha"])


def test_a_single_bar_has_neither_deviation_nor_years():
    found = measured([1100.0])
    assert found["total_return"] == pytest.approx(0.1)
    for name in ("volatility", "sharpe_ratio", "cagr", "turnover"):
        assert np.isnan(found[name]), name


def test_one_sided_trades_have_neither_profit_factor_nor_kelly():
    found = measured([1000, 1010], trades=trades_of((0, 1, 50, 10)), fill_bar=[0, 1])
    assert (found["win_rate"], found["best_trade"], found["worst_trade"]) == (1.0, 0.2, 0.2)
    for name in ("profit_factor", "kelly", "sqn"):
        assert np.isnan(found[name]), name


def test_an_open_trade_is_not_counted():
    found = measured(
        [1000, 1010, 1020], trades=trades_of((0, 1, 50, 10), (2, -1, 60, 99)), fill_bar=[0, 1, 1]
    )
    assert (found["trades"], found["expectancy"]) == (1, 10)


@pytest.mark.parametrize("profile", list(Profile))
def test_a_ruined_account_is_measured_and_earns_nothing_afterwards(profile):
    found = measured([900.0, 0.0, -200.0, -100.0], profile=profile)
    assert found["total_return"] == pytest.approx(-1.1)
    assert found["annual_return"] == -1.0
    assert found["max_drawdown"] == pytest.approx(1.2 if profile is Profile.ADMF else 11 / 9)
    assert np.isnan(found["cagr"])
    if profile is Profile.ADMF:
        returns = np.array([-0.1, -1.0, 0.0, 0.0])
        assert found["sharpe_ratio"] == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(252))


def test_an_account_that_averages_zero_has_no_turnover():
    assert np.isnan(measured([1000.0, -1000.0], traded=500.0)["turnover"])


@pytest.mark.parametrize("profile", list(Profile))
def test_drawdowns_last_from_peak_to_recovery_and_one_bar_is_none(profile):
    found = measured([1000, 1100, 1090, 1100, 990, 1045, 1155, 1100, 1039.5], profile=profile)
    assert found["max_drawdown"] == pytest.approx(0.1)
    # Bar 3 to 6 at 10 %, and bar 6 to the end at 10 %; the dip of bar 2 lasts two days, from 1 to 3.
    assert found["max_drawdown_days"] == 3
    depths, days = [1 - 1090 / 1100, 0.1, 0.1], [2, 3, 2]
    assert found["average_drawdown"] == pytest.approx(np.mean(depths))
    mean = np.mean(days)
    assert found["average_drawdown_days"] == pytest.approx(np.ceil(mean) if profile else mean)


def test_the_peculiar_profile_measures_days_and_starts_at_the_first_equity():
    time = np.arange(8, dtype=np.int64) * DAY // 2
    equity = np.array([900, 950, 930, 990, 985, 1020, 1010, 1030.0])
    found = measured(equity, time=time, profile=Profile.BACKTESTING_PY, per_year=504.0)
    daily = equity[1::2]
    r = daily[1:] / daily[:-1] - 1
    growth = np.exp(np.mean(np.log1p(r)))
    volatility = np.sqrt((np.var(r, ddof=1) + growth**2) ** 252 - growth**504)
    assert found["annual_return"] == pytest.approx(growth**252 - 1)
    assert found["volatility"] == pytest.approx(volatility)
    assert found["sharpe_ratio"] == pytest.approx((growth**252 - 1) / volatility)
    assert found["max_drawdown"] == pytest.approx(1 - 930 / 950)


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


def test_volatility_drawdown_and_annual_return_are_those_that_empyrical_publishes():
    returns = np.array([0, 1, 10, -4, 2, 3, 2, 1, -10]) / 100  # its first row counts as a bar without return
    found = measured_returns(returns)
    assert found["annual_return"] == pytest.approx(1.9135925373194231, rel=1e-12)
    assert found["max_drawdown"] == pytest.approx(0.1, rel=1e-12)
    assert found["calmar_ratio"] == pytest.approx(19.135925373194233, rel=1e-12)
    assert measured_returns(returns[1:])["volatility"] == pytest.approx(0.9136465399704637, rel=1e-12)


def test_the_sharpe_ratio_of_pybroker_differs_by_its_population_deviation():
    returns = [0.1, -0.2, 0.3, 0, -0.4, 0.5]
    ours = measured_returns(returns, per_year=1.0)
    assert ours["sharpe_ratio"] * np.sqrt(6 / 5) == pytest.approx(0.16744367165578425, rel=1e-12)
    assert ours["sortino_ratio"] == pytest.approx(0.273861278752583, rel=1e-12)


def test_objectives_know_which_way_is_better():
    assert objective_direction("sharpe_ratio") == "maximize"
    assert objective_direction("max_drawdown") == "minimize"
    assert set(METRICS) >= MINIMIZED
    with pytest.raises(
        UnknownNameError, match=r"here: unknown metric 'sharp_ratio'. Did you mean sharpe_ratio"
    ):
        objective_direction("sharp_ratio", "here")


def test_profiles_are_found_by_name():
    assert metric_profile("backtesting_py") is Profile.BACKTESTING_PY
    with pytest.raises(UnknownNameError, match="unknown metric profile 'admv'"):
        metric_profile("admv")
