"""Vector A: the example of backtesting.py's own `test_compute_stats`, on the data that it installs.

The literal figures are those that its test states; every other figure is compared with the installed peer.
"""

import warnings

import numpy as np
import pytest
from admf.domain.events import OrdersFilled
from admf.domain.execution import EndOfData, Execution, FillPrice, Rounding
from admf.domain.metrics import Profile
from admf.domain.portfolio import Trades, round_trips, settle
from admf.domain.strategies import sma_crossover
from admf.domain.topology import StrategySlot

CAPITAL = 10_000.0
DAY = np.timedelta64(1, "D")
PERCENT = {
    "total_return": "Return [%]",
    "buy_and_hold_return": "Buy & Hold Return [%]",
    "annual_return": "Return (Ann.) [%]",
    "volatility": "Volatility (Ann.) [%]",
    "cagr": "CAGR [%]",
    "alpha": "Alpha [%]",
    "win_rate": "Win Rate [%]",
    "best_trade": "Best Trade [%]",
    "worst_trade": "Worst Trade [%]",
    "average_trade": "Avg. Trade [%]",
    "expectancy": "Expectancy [%]",
    "exposure": "Exposure Time [%]",
}
LOSS = {"max_drawdown": "Max. Drawdown [%]", "average_drawdown": "Avg. Drawdown [%]"}
DAYS = {
    "max_drawdown_days": "Max. Drawdown Duration",
    "average_drawdown_days": "Avg. Drawdown Duration",
    "max_trade_days": "Max. Trade Duration",
    "average_trade_days": "Avg. Trade Duration",
}
PLAIN = {
    "final_equity": "Equity Final [$]",
    "peak_equity": "Equity Peak [$]",
    "sharpe_ratio": "Sharpe Ratio",
    "sortino_ratio": "Sortino Ratio",
    "calmar_ratio": "Calmar Ratio",
    "beta": "Beta",
    "trades": "# Trades",
    "profit_factor": "Profit Factor",
    "sqn": "SQN",
    "kelly": "Kelly Criterion",
}


@pytest.fixture(scope="module")
def cross(run, make_topology, make_containers, goog):
    """Run the crossing of 10 and 30 bar averages under a policy, and give what it yielded."""

    def simulated(stop=None, **policy):
        plain = {"rounding": Rounding.FLOOR, "end": EndOfData.CLOSE_AT_OPEN}
        topology = make_topology(
            StrategySlot(name="cross", strategy=sma_crossover, parameters={"fast": 10, "slow": 30}),
            execution=Execution(**(plain | policy)),
            capital=CAPITAL,
            profile=Profile.BACKTESTING_PY,
        )
        return run(topology, goog, make_containers([(0, stop or len(goog))]))

    return simulated


@pytest.fixture(scope="module")
def peer_cross(peer):
    """Run the same in backtesting.py, and give its statistics."""

    class Cross(peer.Strategy):
        def init(self):
            self.fast = self.I(peer.test.SMA, self.data.Close, 10)
            self.slow = self.I(peer.test.SMA, self.data.Close, 30)

        def next(self):
            if peer.lib.crossover(self.fast, self.slow):
                self.position.close()
                self.buy()
            elif peer.lib.crossover(self.slow, self.fast):
                self.position.close()
                self.sell()

    def statistics(**policy):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, about what the peer calls
            return peer.Backtest(peer.test.GOOG, Cross, cash=CAPITAL, finalize_trades=True, **policy).run()

    return statistics


def fills(outcome):
    return map(np.array, zip(*outcome.rows(OrdersFilled, "bar", "quantity", "price", "fee"), strict=True))


def trades_of(outcome):
    """Round trips as (size, entry bar, exit bar, entry price, exit price, profit)."""
    bar, quantity, price, fee = fills(outcome)
    position, cash, trades = np.empty(bar.size), np.empty(bar.size), Trades.empty(bar.size)
    settle(quantity, price, fee, CAPITAL, position, cash)
    count = round_trips(quantity, price, fee, position, np.nan, trades)
    size = (trades.side * trades.quantity)[:count]
    entry, leave = bar[trades.entry_fill[:count]], bar[trades.exit_fill[:count]]
    prices = trades.entry_price[:count], trades.exit_price[:count]
    return list(zip(size, entry, leave, *prices, trades.pnl[:count], strict=True))


def equity_of(outcome, close):
    bar, quantity, price, fee = fills(outcome)
    spent, units = np.zeros(close.size), np.zeros(close.size)
    np.add.at(spent, bar, quantity * price + fee)
    np.add.at(units, bar, quantity)
    return CAPITAL - np.cumsum(spent) + np.cumsum(units) * close


def figures(statistics):
    """The peer's statistics by our names: in fractions and days, drawdowns positive."""
    found = {name: statistics[theirs] for name, theirs in PLAIN.items()}
    found |= {name: statistics[theirs] / 100 for name, theirs in PERCENT.items()}
    found |= {name: -statistics[theirs] / 100 for name, theirs in LOSS.items()}
    return found | {name: statistics[theirs].to_timedelta64() / DAY for name, theirs in DAYS.items()}


def close_to(value):
    return pytest.approx(value, rel=1e-9)


def test_the_figures_that_the_peer_publishes_are_ours(cross):
    outcome = cross()
    published = {
        "final_equity": 51422.99,
        "peak_equity": 75787.44,
        "total_return": 4.142299,
        "buy_and_hold_return": 5.220601851851852,
        "annual_return": 0.21191099249053224,
        "volatility": 0.3649716090702389,
        "cagr": 0.21160245705962623,
        "sharpe_ratio": 0.5806232244485349,
        "sortino_ratio": 1.0853434352488662,
        "calmar_ratio": 0.44166409202994605,
        "alpha": 3.9437391142,
        "beta": 0.03803390709192,
        "max_drawdown": 0.4798012705007589,
        "average_drawdown": 0.05925851581948801,
        "max_drawdown_days": 584,
        "average_drawdown_days": 41,
        "trades": 66,
        "win_rate": 31 / 66,
        "best_trade": 0.5359595229490424,
        "worst_trade": -0.1839887353835481,
        "average_trade": 0.02531715975158555,
        "max_trade_days": 183,
        "average_trade_days": 46,
        "profit_factor": 2.167945974262033,
        "expectancy": 0.032748078066748834,
        "sqn": 1.0766187356697705,
        "kelly": 0.1518705127029717,
        "exposure": 0.9674115456238361,
    }
    assert set(published) == {*PLAIN, *PERCENT, *LOSS, *DAYS}
    assert {name: outcome.metric(name) for name in published} == close_to(published)


def test_the_first_and_last_trades_are_the_peers(cross):
    trades = trades_of(cross())
    assert trades[:6] == [
        close_to(trade)
        for trade in [
            (-55, 70, 86, 180.36, 186.31, -327.25),
            (51, 86, 113, 186.31, 193.69, 376.38),
            (-51, 113, 119, 193.69, 196.96, -166.77),
            (50, 119, 128, 196.96, 196.50, -23.00),
            (-50, 128, 160, 196.50, 193.69, 140.50),
            (51, 160, 243, 193.69, 297.50, 5294.31),
        ]
    ]
    assert trades[-2:] == [
        close_to((-69, 2061, 2088, 672.01, 695.0, -1586.31)),
        close_to((64, 2088, 2147, 695.0, 797.8, 6579.20)),
    ]


def test_the_equity_curve_passes_the_peers_checkpoints(cross, goog):
    equity = dict(
        zip(
            goog.time.astype("datetime64[ns]").astype("datetime64[D]").astype(str),
            equity_of(cross(), goog.close),
            strict=True,
        )
    )
    checkpoints = {
        "2004-11-29": 9962.05,
        "2004-12-21": 9542.19,
        "2006-08-14": 21152.19,
        "2008-08-08": 47087.77,
        "2012-07-27": 43873.65,
    }
    assert {date: equity[date] for date in checkpoints} == close_to(checkpoints)


@pytest.mark.parametrize("commission", [0.0, 0.002], ids=["free", "commission"])
def test_every_trade_bar_and_figure_is_the_installed_peers(cross, peer_cross, goog, commission):
    ours, theirs = cross(commission_rate=commission), peer_cross(commission=commission)
    columns = ["Size", "EntryBar", "ExitBar", "EntryPrice", "ExitPrice", "PnL"]
    np.testing.assert_allclose(trades_of(ours), theirs["_trades"][columns].to_numpy(float), rtol=1e-9)
    curve = theirs["_equity_curve"]["Equity"].to_numpy(float)
    np.testing.assert_allclose(equity_of(ours, goog.close), curve, rtol=1e-9)
    expected = figures(theirs)
    assert {name: ours.metric(name) for name in expected} == close_to(expected)


def test_a_commission_of_a_fifth_of_a_percent_costs_what_it_costs_the_peer(cross):
    outcome = cross(commission_rate=0.002)
    assert outcome.metric("final_equity") == close_to(39280.73682)
    assert outcome.metric("fees") == close_to(8731.11318)
    assert outcome.metric("sharpe_ratio") == pytest.approx(0.493372, abs=5e-7)


def test_trading_on_close_ends_at_the_close_of_the_last_bar_but_one(cross, peer_cross, goog):
    """Its `trade_on_close` fills what is decided on the last bar, the final exit too, at the close before."""
    outcome = cross(stop=len(goog) - 1, fill=FillPrice.SAME_CLOSE, end=EndOfData.CLOSE)
    theirs = peer_cross(trade_on_close=True)
    assert outcome.metric("final_equity") == close_to(64392.08)
    assert outcome.metric("final_equity") == close_to(theirs["Equity Final [$]"])
    columns = ["Size", "EntryBar", "ExitBar", "EntryPrice", "ExitPrice", "PnL"]
    np.testing.assert_allclose(trades_of(outcome), theirs["_trades"][columns].to_numpy(float), rtol=1e-9)
