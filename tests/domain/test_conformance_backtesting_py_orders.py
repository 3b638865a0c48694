"""Vector B: what backtesting.py's own tests expect of single orders.

The literal figures are those that its tests state; trades are compared with the installed peer's as well.
"""

import warnings

import numpy as np
import pytest
from admf.domain.bars import BarsLoaded, checked_bars
from admf.domain.codes import OrderType
from admf.domain.events import OrdersFilled, OrdersPlaced
from admf.domain.execution import EndOfData, Execution, FillPrice, Rounding, Sizer, SizingRule
from admf.domain.metrics import Profile
from admf.domain.strategies import sma_crossover
from admf.domain.topology import StrategySlot

CAPITAL = 10_000.0
SHORT = 20
"""Its tests call the first 20 bars of GOOG their short data."""
NAN = np.nan
ONE = Sizer(rule=SizingRule.UNITS, value=1.0)


def close_to(value):
    return pytest.approx(value, rel=1e-9)


@pytest.fixture(scope="module")
def bars_of():
    """A table of the peer's as bars."""

    def make(table, symbol):
        columns = {
            name: table[name.title()].to_numpy(float) for name in ("open", "high", "low", "close", "volume")
        }
        time = table.index.to_numpy().astype("datetime64[ns]").astype(np.int64)
        return checked_bars(BarsLoaded(time=time, **columns), symbol=symbol, timeframe="1d", source=symbol)

    return make


@pytest.fixture(scope="module")
def day(goog):
    """The number of the bar of a date."""
    dates = goog.time.astype("datetime64[ns]").astype("datetime64[D]").astype(str).tolist()
    return dates.index


@pytest.fixture(scope="module")
def ours(trade, goog):
    """Follow targets that are given by bar, with prices, over GOOG's bars; return what happened."""

    def simulated(targets, stop=None, **changes):
        script = [NAN] * len(goog)
        for bar, target in targets.items():
            script[bar] = target
        plain = {"rounding": Rounding.FLOOR} | changes.pop("policy", {})
        return trade(
            goog,
            script,
            window=(0, stop or len(goog)),
            execution=Execution(**plain),
            capital=CAPITAL,
            **changes,
        )

    return simulated


@pytest.fixture(scope="module")
def theirs(peer):
    """Trades of a strategy that acts bar by bar: size, bars and prices of entry and exit."""

    def simulated(act, data, **policy):
        class Scripted(peer.Strategy):
            def init(self):
                pass

            def next(self):
                act(self, len(self.data) - 1)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = peer.Backtest(data, Scripted, cash=CAPITAL, **policy).run()
        columns = ["Size", "EntryBar", "ExitBar", "EntryPrice", "ExitPrice"]
        return [tuple(row) for row in found["_trades"][columns].to_numpy(float).tolist()]

    return simulated


def trades_of(outcome):
    """Pairs of an entry and an exit, as the peer writes them."""
    fills = outcome.rows(OrdersFilled, "bar", "quantity", "price")
    return [
        (quantity, bar, leave, price, exit_price)
        for (bar, quantity, price), (leave, _, exit_price) in zip(fills[::2], fills[1::2], strict=True)
    ]


def equity_of(outcome, goog, bar):
    rows = [row for row in outcome.rows(OrdersFilled, "bar", "quantity", "price", "fee") if row[0] <= bar]
    cash = CAPITAL - sum(quantity * price + fee for _, quantity, price, fee in rows)
    return cash + sum(quantity for _, quantity, _, _ in rows) * goog.close[bar]


@pytest.mark.parametrize(
    ("policy", "sizer", "expected"),
    [
        ({"commission_rate": 0.01}, Sizer(), [9781.28, 9846.04]),
        # It counts the fixed commission for each unit when it computes how many it can buy: 47, not 88.
        (
            {"commission_rate": 0.01, "commission_fixed": 100.0},
            Sizer(rule=SizingRule.UNITS, value=47.0),
            [9784.50, 9718.69],
        ),
        # Its spread is paid at the entry only, our slippage at the exit too.
        ({"commission_rate": 0.01, "slippage": 0.01}, Sizer(), [9685.31, None]),
    ],
    ids=["rate", "fixed", "spread"],
)
def test_costs_of_buying_all_and_closing_the_bar_after(ours, goog, policy, sizer, expected):
    outcome = ours({1: 1, 2: 0}, stop=SHORT, policy=policy, sizer=sizer)
    entry = outcome.rows(OrdersFilled, "bar", "price")[0]
    assert entry == close_to((2, goog.open[2] * (1 + policy.get("slippage", 0.0))))
    for bar, equity in zip((2, 3), expected, strict=True):
        if equity:
            assert round(equity_of(outcome, goog, bar), 2) == equity


def test_a_fixed_and_a_relative_commission_at_entry_and_target(trade, make_bars):
    outcome = trade(
        make_bars([1, 1, 1, 2, 4, 1, 2], high=[1, 1, 1, 2, 4, 1, 2], low=[1, 1, 1, 2, 4, 1, 2]),
        [NAN, 1, NAN, NAN, NAN, NAN, NAN],
        prices={"take_profit": 3},
        sizer=Sizer(rule=SizingRule.UNITS, value=100.0),
        execution=Execution(commission_fixed=10.0, commission_rate=0.01),
        capital=5000.0,
    )
    assert outcome.rows(OrdersFilled, "bar", "price") == [(2, 1.0), (4, 4.0)]
    assert outcome.metric("fees") == 10 + 0.01 * 100 * 1 + 10 + 0.01 * 100 * 4
    assert outcome.metric("final_equity") == 5000 + 300 - 25


@pytest.mark.parametrize(
    ("prices", "exit_price"),
    [({"stop_loss": 720}, 720.0), ({"stop": 758, "stop_loss": 720}, 705.58)],
    ids=["market", "stop"],
)
def test_a_stop_loss_on_the_day_of_the_entry(ours, theirs, peer, day, prices, exit_price):
    """A position that began at the open ends that day; one that began at a stop price, the day after."""
    bar = day("2012-10-17")

    def act(strategy, now):
        if now == bar:
            strategy.buy(stop=prices.get("stop"), sl=720)

    trades = trades_of(ours({bar: 1}, prices=prices))
    assert trades[0][-1] == exit_price
    assert trades == theirs(act, peer.test.GOOG)


def test_a_stop_price_between_stop_loss_and_target(ours, theirs, peer, day):
    bar = day("2004-09-09")

    def act(strategy, now):
        if now == bar:
            strategy.buy(stop=104, sl=103, tp=110)

    trades = trades_of(ours({bar: 1}, prices={"stop": 104, "stop_loss": 103, "take_profit": 110}))
    assert trades[0][3] == 104.0
    assert trades == theirs(act, peer.test.GOOG)


def test_the_price_of_a_stop_limit_order_is_its_stop(ours, theirs, peer):
    """Its second order, a sale with a stop at 107, is the first one's stop loss here."""

    def act(strategy, now):
        if now == 1:
            strategy.buy(stop=112, limit=113, size=1)
            strategy.sell(stop=107, limit=105, size=1)

    prices = {"stop": 112, "limit": 113, "stop_loss": 107}
    outcome = ours({1: 1}, stop=SHORT, prices=prices, sizer=ONE)
    assert outcome.rows(OrdersFilled, "price") == [112.0, 107.0]
    assert trades_of(outcome) == theirs(act, peer.test.GOOG.iloc[:SHORT])


def test_stop_limit_orders_wait_and_a_margin_call_ends_the_last_trade(ours, theirs, peer, goog, day):
    buy, leave, sell = day("2006-10-19"), day("2007-10-30"), day("2008-11-11")

    def act(strategy, now):
        if now == buy:
            strategy.buy(stop=484, limit=466, size=100)
        elif now == leave:
            strategy.position.close()
        elif now == sell:
            strategy.sell(stop=goog.low[sell], limit=324.90, size=200)

    stop, limit = np.full(len(goog), NAN), np.full(len(goog), NAN)
    stop[[buy, sell]], limit[[buy, sell]] = (484.0, goog.low[sell]), (466.0, 324.90)
    outcome = ours(
        {buy: 0.5, leave: 0, sell: -1},
        prices={"stop": stop, "limit": limit},
        sizer=Sizer(rule=SizingRule.UNITS, value=200.0),
        policy={"leverage": 10.0},
    )
    trades = trades_of(outcome)
    assert trades == theirs(act, peer.test.GOOG, margin=0.1)
    bars = [day(date) for date in ("2006-11-01", "2007-10-31", "2008-11-14", "2009-09-21")]
    assert [(entry, leave) for _, entry, leave, _, _ in trades] == [tuple(bars[:2]), tuple(bars[2:])]
    gains = [size * (leave - entry) for size, _, _, entry, leave in trades]
    assert [round(gain) for gain in gains] == [23469, -34420]
    assert OrderType(outcome.rows(OrdersPlaced, "type")[-1]) is OrderType.MARGIN_CALL
    assert outcome.metric("peak_equity") == pytest.approx(46961)
    # It forgives what is owed after the call, and ends with nothing; we end with the debt.
    assert outcome.metric("final_equity") == close_to(CAPITAL + sum(gains))


@pytest.mark.parametrize(
    ("fill", "targets", "stop_loss", "expected"),
    [
        (FillPrice.SAME_CLOSE, {1: 1, 2: 0}, 90, (1, 101.0, 2, 102.0)),
        (FillPrice.SAME_CLOSE, {1: 1}, 80, (1, 101.0, 3, 40.0)),
        (FillPrice.NEXT_OPEN, {1: 1, 2: 0}, 90, (2, 92.0, 3, 40.0)),
        (FillPrice.NEXT_OPEN, {1: 1}, 80, (2, 92.0, 3, 40.0)),
    ],
)
def test_orders_at_market_fill_on_close_but_stops_do_not(
    trade, make_bars, fill, targets, stop_loss, expected
):
    """Its test has both positions at once, each with its own stop; here each is a container's only one."""
    close = np.array([100, 101, 102, 50, 51])
    outcome = trade(
        make_bars(close, close - 10, high=close, low=close - 10),
        [targets.get(bar, NAN) for bar in range(5)],
        prices={"stop_loss": stop_loss},
        sizer=ONE,
        execution=Execution(fill=fill),
    )
    fills = outcome.rows(OrdersFilled, "bar", "price")
    assert fills == [expected[:2], expected[2:]]


def test_a_stop_entry_and_its_target_in_one_bar(ours, theirs, peer):
    def act(strategy, now):
        if now == 2:
            strategy.sell(stop=108, tp=105, sl=113)

    trades = trades_of(ours({2: -1}, stop=SHORT, prices={"stop": 108, "take_profit": 105, "stop_loss": 113}))
    assert trades[0][2:] == (3, 108.0, 105.0)
    assert trades == theirs(act, peer.test.GOOG.iloc[:SHORT])


def test_a_stop_that_a_gap_passes(ours, theirs, peer):
    def act(strategy, now):
        if now == 8:
            strategy.buy(size=1, sl=99.5)

    trades = trades_of(ours({8: 1}, stop=SHORT, prices={"stop_loss": 99.5}, sizer=ONE))
    assert trades == [(1.0, 9, 10, 102.70, 99.19)]
    assert trades == theirs(act, peer.test.GOOG.iloc[:SHORT])


ENTRIES = range(10, 1200, 25)


def random_prices(goog, side, seed):
    """Prices of an entry every 25 bars at market, at a limit, or at a stop, with a stop loss and a target."""
    random = np.random.default_rng(seed)
    columns = {name: np.full(len(goog), NAN) for name in ("limit", "stop", "stop_loss", "take_profit")}
    for bar in ENTRIES:
        kind = random.integers(3)
        at = goog.close[bar] * (1 + random.uniform(0.005, 0.03) * (side if kind == 2 else -side))
        if kind:
            columns["limit" if kind == 1 else "stop"][bar] = at
        columns["stop_loss"][bar] = at * (1 - side * random.uniform(0.03, 0.08))
        columns["take_profit"][bar] = at * (1 + side * random.uniform(0.03, 0.08))
    return columns


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("seed", range(4))
def test_random_stops_and_targets_end_trades_as_the_peers_do(ours, theirs, peer, goog, side, seed):
    """Where a limit or stop order fills at the open, in a gap, the peer ends nothing on that bar.

    We do, since the position began at the open.
    """
    columns = random_prices(goog, side, seed)
    terms = {"limit": "limit", "stop": "stop", "sl": "stop_loss", "tp": "take_profit"}

    def act(strategy, now):
        if now - 24 in ENTRIES:
            for order in list(strategy.orders):
                if not order.is_contingent:
                    order.cancel()
            strategy.position.close()
        elif now in ENTRIES:
            prices = {name: columns[column][now] for name, column in terms.items()}
            place = strategy.buy if side > 0 else strategy.sell
            place(size=1, **{name: price for name, price in prices.items() if not np.isnan(price)})

    targets = dict.fromkeys(ENTRIES, side) | {bar + 24: 0 for bar in ENTRIES}
    compared = 0
    for mine, other in zip(
        trades_of(ours(targets, prices=columns, sizer=ONE)), theirs(act, peer.test.GOOG), strict=True
    ):
        size, entry, leave, price, _ = mine
        assert (size, entry, price) == close_to((other[0], other[1], other[3]))
        if price != goog.open[entry] or leave > entry:
            assert mine == close_to(other)
            compared += 1
    assert compared > 30


@pytest.fixture(scope="module")
def crossing(peer):
    """Two averages that cross, always long or short, as a strategy of the peer's."""

    class Crossing(peer.Strategy):
        fast, slow = 10, 30

        def init(self):
            self.one = self.I(peer.test.SMA, self.data.Close, self.fast)
            self.two = self.I(peer.test.SMA, self.data.Close, self.slow)

        def next(self):
            if peer.lib.crossover(self.one, self.two):
                self.position.close()
                self.buy()
            elif peer.lib.crossover(self.two, self.one):
                self.position.close()
                self.sell()

    return Crossing


def test_fractions_of_bitcoin(crossing, run, peer, bars_of, make_topology, make_containers):
    data = peer.test.BTCUSD["2015":]
    bars = bars_of(data, "BTCUSD")
    topology = make_topology(
        StrategySlot(name="cross", strategy=sma_crossover, parameters={"fast": 2, "slow": 3}),
        execution=Execution(rounding=Rounding.LOT, lot=1e-6, end=EndOfData.CLOSE_AT_OPEN),
        capital=100.0,
    )
    trades = trades_of(run(topology, bars, make_containers([(0, len(bars))])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test = peer.lib.FractionalBacktest(
            data, crossing, fractional_unit=1e-6, cash=100, finalize_trades=True
        )
        found = test.run(fast=2, slow=3)["_trades"]
    assert len(trades) == len(found) == 42
    assert trades[0][3] == pytest.approx(236.69)
    columns = ["EntryBar", "ExitBar", "EntryPrice", "ExitPrice"]
    np.testing.assert_allclose([row[1:] for row in trades], found[columns].to_numpy(float), rtol=1e-9)
    np.testing.assert_allclose(
        [row[0] for row in trades], found["Size"].to_numpy(float), rtol=1e-9, atol=1e-6
    )


def test_weekly_bars(crossing, run, peer, bars_of, make_topology, make_containers):
    """Its annual return of -3 % has 52 bars a year, our profile of the same name has 252."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = peer.test.GOOG.resample("W").agg(peer.lib.OHLCV_AGG)
        theirs = peer.Backtest(data, crossing).run()
    bars = bars_of(data, "GOOG")
    topology = make_topology(
        StrategySlot(name="cross", strategy=sma_crossover, parameters={"fast": 10, "slow": 30}),
        execution=Execution(rounding=Rounding.FLOOR),
        capital=CAPITAL,
        profile=Profile.BACKTESTING_PY,
    )
    outcome = run(topology, bars, make_containers([(0, len(bars))]))
    final = outcome.metric("final_equity")
    assert final == close_to(theirs["Equity Final [$]"])
    assert outcome.metric("trades") == theirs["# Trades"]
    assert round(100 * ((final / CAPITAL) ** (52 / len(bars)) - 1)) == -3
