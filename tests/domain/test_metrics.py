"""Every metric against plain numpy, and against figures that other packages publish for given returns."""

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from admf.domain.bars import DAY
from admf.domain.errors import UnknownNameError
from admf.domain.formulas import FORMULAS
from admf.domain.measures import scratch_for
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
    bars, scratch = np.array(fill_bar, np.int64), scratch_for(equity.size)
    measure(int(profile), per_year, curve, trades, trades.pnl.size, bars, scratch, out)
    return dict(zip(METRICS, out.tolist(), strict=True))


def measured_returns(returns, **changes):
    return measured(CAPITAL * np.cumprod(1 + np.array(returns)), **changes)


def trades_of(*rows):
    """Trades of one unit, every third short, from (entry fill, exit fill, entry price, profit)."""
    trades = Trades.empty(len(rows))
    for row, (entry, leave, price, pnl) in enumerate(rows):
        trades.entry_fill[row], trades.exit_fill[row] = entry, leave
        trades.quantity[row], trades.entry_price[row], trades.pnl[row] = 1.0, price, pnl
        trades.side[row] = 1 if row % 3 else -1
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


def longest_run(flags):
    return max((sum(1 for _ in run) for flag, run in groupby(flags) if flag), default=0)


def plain_metrics(equity, close, time, trades, fill_bar, per_year, held, traded, fees):
    """The formulas of the profile `admf`, in the words of numpy."""
    r = np.diff(equity, prepend=CAPITAL) / np.concatenate(([CAPITAL], equity[:-1]))
    m = np.diff(close, prepend=close[0]) / np.concatenate(([close[0]], close[:-1]))
    years = (time[-1] - time[0]) / DAY / 365.25
    growth = equity[-1] / CAPITAL
    depth, stretches = drawdowns(equity, time)
    beta = np.cov(r, m, ddof=1)[0, 1] / np.var(m, ddof=1)
    c, downside = r - np.mean(r), np.sqrt(np.mean(np.minimum(r, 0) ** 2))
    found = {
        "final_equity": equity[-1],
        "peak_equity": max(CAPITAL, equity.max()),
        "total_return": growth - 1,
        "buy_and_hold_return": close[-1] / close[0] - 1,
        "annual_return": growth ** (per_year / r.size) - 1,
        "cagr": growth ** (1 / years) - 1,
        "volatility": np.std(r, ddof=1) * np.sqrt(per_year),
        "sharpe_ratio": np.mean(r) / np.std(r, ddof=1) * np.sqrt(per_year),
        "downside_risk": downside * np.sqrt(per_year),
        "sortino_ratio": nan_ratio(np.mean(r), downside) * np.sqrt(per_year),
        "omega_ratio": nan_ratio(r[r > 0].sum(), -r[r < 0].sum()),
        "information_ratio": np.mean(r - m) / np.std(r - m, ddof=1) * np.sqrt(per_year),
        "skewness": np.mean(c**3) / np.mean(c**2) ** 1.5,
        "kurtosis": np.mean(c**4) / np.mean(c**2) ** 2 - 3,
        "best_return": r.max(),
        "worst_return": r.min(),
        "calmar_ratio": nan_ratio(growth ** (per_year / r.size) - 1, depth.max()),
        "alpha": per_year * (np.mean(r) - beta * np.mean(m)),
        "beta": beta,
        "max_drawdown": depth.max(),
        "average_drawdown": np.mean([d for d, _ in stretches]) if stretches else 0.0,
        "max_drawdown_days": max([d for _, d in stretches], default=0.0),
        "average_drawdown_days": np.mean([d for _, d in stretches]) if stretches else 0.0,
        "time_under_water": np.mean(depth > 0),
        "ulcer_index": np.sqrt(np.mean(depth**2)),
        "recovery_factor": nan_ratio(growth - 1, depth.max()),
        "exposure": held / r.size,
        "turnover": traded / np.mean(equity) / years,
        "fees": fees,
    }
    return found | plain_trade_metrics(trades, time, fill_bar)


def plain_trade_metrics(trades, time, fill_bar):
    closed = trades.exit_fill >= 0
    p = trades.pnl[closed]
    if not p.size:
        return dict.fromkeys(("trades", "long_trades", "short_trades"), 0) | dict.fromkeys(
            TRADE_METRICS, np.nan
        )
    q = p / (trades.quantity * trades.entry_price)[closed]
    days = (time[fill_bar[trades.exit_fill[closed]]] - time[fill_bar[trades.entry_fill[closed]]]) / DAY
    gains, losses, won = p[p > 0], -p[p < 0], np.mean(p > 0)
    spread = np.std(p, ddof=1) if p.size > 1 else np.nan
    return {
        "trades": p.size,
        "long_trades": np.sum(trades.side[closed] == 1),
        "short_trades": np.sum(trades.side[closed] == -1),
        "win_rate": won,
        "average_win": q[p > 0].mean() if gains.size else np.nan,
        "average_loss": q[p < 0].mean() if losses.size else np.nan,
        "payoff_ratio": gains.mean() / losses.mean() if gains.size and losses.size else np.nan,
        "max_consecutive_wins": longest_run(p > 0),
        "max_consecutive_losses": longest_run(p < 0),
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
@given(seed=st.integers(0, 10_000), bars=st.integers(4, 200), count=st.integers(0, 12))
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
    assert found["trades"] == found["long_trades"] == found["short_trades"] == 0
    of_bars = {"max_consecutive_wins", "max_consecutive_losses"} if profile is Profile.QUANTSTATS else set()
    for name in set(TRADE_METRICS) - of_bars:
        assert np.isnan(found[name]), name


def test_the_document_states_the_formulas_of_every_metric_in_its_order():
    assert tuple(FORMULAS) == METRICS
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    stated = {name.strip("`"): tuple(cells) for name, *cells in rows if name.strip("`") in FORMULAS}
    assert list(stated) == list(METRICS)
    for name, formula in FORMULAS.items():
        unit, admf, *others = formula
        better = "less" if objective_direction(name) == "minimize" else "more"
        assert stated[name] == (unit, better, admf, *(other or "same" for other in others)), name


@pytest.mark.parametrize("bars", [1, 2, 3, 4, 31, 32, 33, 64, 65, 66, 127, 128, 129, 130, 131, 193])
def test_every_bar_counts_once_whatever_the_number_of_bars(bars):
    returns = np.linspace(-0.03, 0.05, bars)
    found = measured_returns(returns)
    assert found["best_return"] == pytest.approx(returns.max())
    assert found["worst_return"] == pytest.approx(returns.min())
    if bars > 1:
        assert found["volatility"] == pytest.approx(returns.std(ddof=1) * np.sqrt(252))
        assert found["alpha"] + found["beta"] * 252 * market_mean(bars) == pytest.approx(252 * returns.mean())


def market_mean(bars):
    close = np.linspace(50.0, 60.0, bars)
    return np.sum(close[1:] / close[:-1] - 1) / bars


def test_higher_moments_keep_their_digits_when_returns_are_large_beside_their_deviation():
    returns = 0.05 + np.array([1, -2, 3, 5, -4, 1, 2, 0, -1, 7] * 10) * 1e-6
    c = returns - returns.mean()
    found = measured_returns(returns)
    assert found["skewness"] == pytest.approx(np.mean(c**3) / np.mean(c**2) ** 1.5, rel=1e-7)
    assert found["kurtosis"] == pytest.approx(np.mean(c**4) / np.mean(c**2) ** 2 - 3, rel=1e-7)


def test_an_account_that_grows_steadily_has_no_deviation_worth_the_name():
    found = measured_returns([0.01] * 200)
    assert found["volatility"] == 0
    for name in ("sharpe_ratio", "skewness", "kurtosis", "sortino_ratio", "omega_ratio"):
        assert np.isnan(found[name]), name


def test_a_trade_without_profit_ends_a_run_of_wins_and_of_losses():
    rows = [(2 * i, 2 * i + 1, 50, pnl) for i, pnl in enumerate([1, 2, 0, 3, -1, -1, 0, -1, 4, 4, 4])]
    found = measured([1000, 1010], trades=trades_of(*rows), fill_bar=[0, 1] * 11)
    assert (found["max_consecutive_wins"], found["max_consecutive_losses"]) == (3, 2)
    assert (found["long_trades"], found["short_trades"]) == (7, 4)
    assert found["payoff_ratio"] == pytest.approx(18 / 6)


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
    assert found["max_drawdown"] == pytest.approx(11 / 9 if profile is Profile.BACKTESTING_PY else 1.2)
    by_bars = profile in (Profile.EMPYRICAL, Profile.QUANTSTATS)
    assert found["cagr"] == pytest.approx(-1.0 if by_bars else np.nan, nan_ok=True)
    if profile is not Profile.BACKTESTING_PY:
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
    assert found["average_drawdown_days"] == pytest.approx(
        np.ceil(mean) if profile is Profile.BACKTESTING_PY else mean
    )


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
