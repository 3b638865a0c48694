"""What holds for every account: stops, limits, volume, margin, interest, risk limits, two calendars."""

import msgspec
import numpy as np
import pytest
from admf.domain.bars import DAY
from admf.domain.desk import CHARGE, FILL
from admf.domain.events import (
    InterestCharged,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    TrialsCompleted,
)
from admf.domain.execution import (
    EndOfData,
    Execution,
    FillPrice,
    LimitFill,
    Protection,
    RiskLimits,
    Rounding,
    Sizer,
    SizingRule,
)
from admf.domain.market import Market
from admf.domain.measurement import Measures, Spans, measure_containers
from admf.domain.metrics import METRICS, Profile
from admf.domain.panel import Panel
from admf.domain.portfolio import Trades, round_trips, settle
from admf.domain.strategies import PRICES, Signals, strategy_from
from admf.domain.topology import StrategySlot
from hypothesis import given, settings
from hypothesis import strategies as st

BARS = 20
CAPITAL = 1000.0
SIX_HOURS = DAY // 4
NAN = np.nan
some = settings(max_examples=100, deadline=None)

rates = st.sampled_from([0.0, 0.0, 0.01])
scripts = st.lists(st.sampled_from([NAN, NAN, -1.0, -0.5, 0.0, 0.5, 1.0]), min_size=BARS, max_size=BARS)
offsets = st.lists(st.sampled_from([NAN, 0.9, 0.97, 1.0, 1.03, 1.1]), min_size=BARS, max_size=BARS)
plans = st.fixed_dictionaries({"target": scripts} | dict.fromkeys(PRICES, st.none() | offsets))
"""Targets, and order prices as multiples of the close, by bar."""
calendars = st.sets(st.integers(0, BARS - 1), min_size=BARS // 2).map(sorted)
protections = st.builds(
    Protection,
    stop_loss=st.sampled_from([0.0, 3.0, 15.0]),
    take_profit=st.sampled_from([0.0, 4.0, 20.0]),
    trailing_stop=st.sampled_from([0.0, 5.0]),
)
limits = st.builds(
    RiskLimits,
    max_position=st.sampled_from([0.0, 0.0, 0.7]),
    max_leverage=st.sampled_from([0.0, 0.0, 0.9]),
    max_drawdown=st.sampled_from([0.0, 0.0, 0.3]),
    daily_loss=st.sampled_from([0.0, 0.0, 0.05]),
)
fixed_sizers = st.one_of(
    st.floats(0.01, 15).map(lambda value: Sizer(rule=SizingRule.UNITS, value=value)),
    st.floats(10, 1500).map(lambda value: Sizer(rule=SizingRule.SIZE, value=value)),
)
plain_sizers = st.one_of(
    fixed_sizers,
    st.floats(1, 100).map(lambda value: Sizer(value=value)),
    st.floats(10, 90).map(lambda value: Sizer(rule=SizingRule.KELLY, value=value, minimum_trades=2)),
)
sizers = plain_sizers | st.floats(1, 80).map(
    lambda value: Sizer(rule=SizingRule.VOLATILITY, value=value, period=4)
)


@st.composite
def executions(draw, ends=tuple(EndOfData)):
    fill = draw(st.sampled_from(FillPrice))
    if fill is not FillPrice.NEXT_OPEN:
        ends = [end for end in ends if end is not EndOfData.CLOSE_AT_OPEN]
    volume_limit = draw(st.sampled_from([0.0, 0.0, 0.1]))
    return Execution(
        fill=fill,
        limit=draw(st.sampled_from(LimitFill)),
        rounding=draw(st.sampled_from(Rounding)),
        lot=0.1,
        end=draw(st.sampled_from(ends)),
        commission_rate=draw(rates),
        commission_per_unit=draw(rates),
        commission_fixed=draw(st.sampled_from([0.0, 0.0, 2.0])),
        commission_minimum=draw(st.sampled_from([0.0, 0.0, 3.0])),
        slippage=draw(rates),
        volume_limit=volume_limit,
        price_impact=draw(st.sampled_from([0.0, 0.5])) if volume_limit else 0.0,
        leverage=draw(st.sampled_from([1.0, 1.0, 3.0])),
        maintenance_margin=draw(st.sampled_from([0.0, 0.0, 0.3])),
        borrow_rate=draw(st.sampled_from([0.0, 0.5])),
        interest_rate=draw(st.sampled_from([0.0, 0.5])),
    )


accounts = st.fixed_dictionaries(
    {"execution": executions(), "sizer": sizers, "protection": protections, "limits": limits}
)
marked_accounts = st.fixed_dictionaries(
    {
        "execution": executions(ends=(EndOfData.MARK,)),
        "sizer": sizers,
        "protection": protections,
        "limits": limits,
    }
)


@pytest.fixture(scope="module")
def walk(make_bars):
    """Bars of a random walk at some of the places, four to a day, with highs, lows and volumes."""

    def make(seed, symbol="A", places=range(BARS), scale=1.0):
        random = np.random.default_rng([seed, ord(symbol)])
        close = 100 * np.exp(np.cumsum(random.normal(0, 0.06, BARS)))
        opens = close * np.exp(random.normal(0, 0.03, BARS))
        high = np.maximum(opens, close) * (1 + random.exponential(0.03, BARS))
        low = np.minimum(opens, close) / (1 + random.exponential(0.03, BARS))
        volume = random.integers(0, 120, BARS).astype(float)
        which = list(places)
        return make_bars(
            scale * close[which],
            scale * opens[which],
            high=scale * high[which],
            low=scale * low[which],
            volume=volume[which],
            at=which,
            step=SIX_HOURS,
            symbol=symbol,
        )

    return make


def slot(plan, number, name):
    """A strategy that follows a plan by the number of the bar, on one symbol."""
    target = np.array(plan["target"])
    factors = {column: np.array(plan[column]) for column in PRICES if plan[column] is not None}

    def follow(close):
        size = close.size
        return Signals(target[:size], **{column: close * factor[:size] for column, factor in factors.items()})

    strategy = strategy_from(follow, features={}, parameters={}, space={})
    return StrategySlot(name=name, strategy=strategy, parameters={}, symbols=(number,))


@pytest.fixture(scope="module")
def simulated(run, make_topology, make_containers):
    """Follow one plan for each of the first symbols, over windows of the timeline."""

    def simulate(bars, plans, windows=None, names="ab", **changes):
        slots = [
            slot(plan, number, name) for number, (plan, name) in enumerate(zip(plans, names, strict=False))
        ]
        topology = make_topology(*slots, **({"capital": CAPITAL} | changes))
        return run(topology, bars, make_containers(windows or [(0, len(Panel(bars)))]))

    return simulate


def placed_rows(outcome, kind, panel, *columns):
    """Rows of an event as (container, place on the timeline, symbol, and so on)."""
    rows = outcome.rows(kind, "container", "bar", "symbol", *columns)
    return [
        (container, int(panel.at[symbol][bar]) if symbol >= 0 else bar, symbol, *rest)
        for container, bar, symbol, *rest in rows
    ]


def equity_of(outcome, panel, container):
    """Equity at each place, from the fills, charges and closes alone."""
    cash, position, marks = CAPITAL, np.zeros(len(panel.bars)), np.zeros(len(panel.bars))
    fills = placed_rows(outcome, OrdersFilled, panel, "quantity", "price", "fee")
    charges = placed_rows(outcome, InterestCharged, panel, "amount")
    equity = np.empty(len(panel))
    for place in range(len(panel)):
        for owner, at, symbol, quantity, price, fee in fills:
            if (owner, at) == (container, place):
                cash -= quantity * price + fee
                position[symbol] += quantity
        cash -= sum(amount for owner, at, _, amount in charges if (owner, at) == (container, place))
        for symbol, bars in enumerate(panel.bars):
            if panel.own[symbol][place] >= 0:
                marks[symbol] = bars.close[panel.own[symbol][place]]
        equity[place] = cash + position @ marks
    return equity


@some
@given(
    seed=st.integers(0, 99),
    both=st.tuples(plans, plans),
    times=st.tuples(calendars, calendars),
    account=marked_accounts,
)
def test_equity_is_cash_and_positions_at_their_prices_at_every_bar(
    simulated, walk, seed, both, times, account
):
    """Each container ends one bar later than the one before it; what it did until then must be the same."""
    bars = [walk(seed, symbol, places) for symbol, places in zip("AB", times, strict=True)]
    panel = Panel(bars)
    count = len(panel)
    outcome = simulated(bars, both, windows=[(0, stop) for stop in range(1, count + 1)], **account)
    equity = equity_of(outcome, panel, count - 1)
    final = outcome.events[TrialsCompleted].metrics["final_equity"]
    np.testing.assert_allclose(final, equity, rtol=1e-9, atol=1e-6)
    fills = placed_rows(outcome, OrdersFilled, panel, "quantity", "price", "fee", "order")
    whole = [row[1:] for row in fills if row[0] == count - 1]
    for container in range(count - 1):
        part = [row[1:] for row in fills if row[0] == container]
        assert part == [row for row in whole if row[0] <= container]


@some
@given(
    seed=st.integers(0, 99),
    both=st.tuples(plans, plans),
    times=st.tuples(calendars, calendars),
    account=accounts,
)
def test_profits_of_trades_less_interest_are_what_the_account_gained(
    simulated, walk, seed, both, times, account
):
    bars = [walk(seed, symbol, places) for symbol, places in zip("AB", times, strict=True)]
    outcome = simulated(bars, both, **account)
    gained = -sum(outcome.rows(InterestCharged, "amount"))
    flat = True
    for number, each in enumerate(bars):
        rows = outcome.rows(OrdersFilled, "symbol", "quantity", "price", "fee")
        own = np.array([row[1:] for row in rows if row[0] == number], float).reshape(-1, 3)
        quantity, price, fee = np.ascontiguousarray(own.T)
        position, cash, trades = np.empty(fee.size), np.empty(fee.size), Trades.empty(fee.size)
        settle(quantity, price, fee, CAPITAL, position, cash)
        count = round_trips(quantity, price, fee, position, each.close[-1], trades)
        gained += trades.pnl[:count].sum()
        flat = flat and not position[-1:].any()
    assert outcome.metric("final_equity") - CAPITAL == pytest.approx(gained, abs=1e-6)
    execution = account["execution"]
    if execution.end is not EndOfData.MARK and not execution.volume_limit:
        assert flat


@some
@given(
    seed=st.integers(0, 99),
    both=st.tuples(plans, plans),
    times=st.tuples(calendars, calendars),
    account=accounts,
)
def test_metrics_follow_from_bars_fills_and_interest_to_the_bit(simulated, walk, seed, both, times, account):
    bars = [walk(seed, symbol, places) for symbol, places in zip("AB", times, strict=True)]
    panel = Panel(bars)
    outcome = simulated(bars, both, **account)
    fills = placed_rows(outcome, OrdersFilled, panel, "quantity", "price", "fee")
    charges = placed_rows(outcome, InterestCharged, panel, "amount")
    assert [row[1] for row in fills] == sorted(row[1] for row in fills)
    filled, charged = np.zeros(len(fills), FILL), np.zeros(len(charges), CHARGE)
    for row, (_, place, symbol, quantity, price, fee) in enumerate(fills):
        filled[row] = (0, place, symbol, quantity, price, fee)
    for row, (_, place, symbol, amount) in enumerate(charges):
        charged[row] = (place, symbol, amount)
    one = np.array([len(panel)])
    metrics = measure_containers(
        Market(panel, ()).prices,
        Spans(np.zeros(1, np.int64), one, np.zeros(1, np.int64)),
        (np.array([len(fills)]), np.array([len(charges)])),
        filled,
        charged,
        Measures(int(Profile.ADMF), 252.0, CAPITAL),
    )
    np.testing.assert_array_equal(metrics[0], [outcome.metric(name) for name in METRICS])


@some
@given(
    seed=st.integers(0, 99),
    both=st.tuples(plans, plans),
    times=st.tuples(calendars, calendars),
    account=accounts,
    sizer=plain_sizers,
)
def test_twice_the_prices_and_the_money_give_the_same_quantities_and_returns(
    simulated, walk, seed, both, times, account, sizer
):
    once, twice = (
        [walk(seed, symbol, places, scale) for symbol, places in zip("AB", times, strict=True)]
        for scale in (1.0, 2.0)
    )
    money = ("commission_per_unit", "commission_fixed", "commission_minimum")
    execution = account["execution"]
    doubled = msgspec.structs.replace(execution, **{name: 2 * getattr(execution, name) for name in money})
    larger = msgspec.structs.replace(sizer, value=2 * sizer.value) if sizer.rule is SizingRule.SIZE else sizer
    ours = simulated(once, both, **(account | {"sizer": sizer}))
    changed = account | {"sizer": larger, "execution": doubled}
    theirs = simulated(twice, both, capital=2 * CAPITAL, **changed)
    columns = ("symbol", "bar", "order", "quantity")
    assert theirs.rows(OrdersFilled, *columns) == ours.rows(OrdersFilled, *columns)
    assert theirs.rows(OrdersDenied, "order", "rule") == ours.rows(OrdersDenied, "order", "rule")
    for name in METRICS:
        factor = 2 if name in {"final_equity", "peak_equity", "expectancy", "fees"} else 1
        np.testing.assert_array_equal(theirs.metric(name), factor * ours.metric(name), err_msg=name)


ORDER_COLUMNS = {
    OrdersPlaced: ("order", "bar", "type", "target"),
    OrdersDenied: ("order", "bar", "rule", "required", "available"),
    OrdersFilled: ("order", "bar", "quantity", "price", "fee"),
    OrdersCanceled: ("order", "bar", "reason"),
    InterestCharged: ("symbol", "bar", "amount"),
}


@some
@given(seed=st.integers(0, 99), plan=plans, account=accounts)
def test_an_idle_symbol_with_the_same_calendar_changes_nothing(simulated, walk, seed, plan, account):
    alone = simulated([walk(seed, "A")], [plan], **account)
    beside = simulated([walk(seed, "A"), walk(seed, "B")], [plan], **account)
    for kind, columns in ORDER_COLUMNS.items():
        assert beside.rows(kind, *columns) == alone.rows(kind, *columns)
    for name in ("final_equity", "max_drawdown", "trades", "exposure", "fees"):
        np.testing.assert_array_equal(beside.metric(name), alone.metric(name), err_msg=name)
    # Returns of the account and of the market share a division, so their last bits depend on both.
    assert beside.metric("sharpe_ratio") == pytest.approx(alone.metric("sharpe_ratio"), rel=1e-9, nan_ok=True)


@some
@given(
    seed=st.integers(0, 99),
    plan=plans,
    times=st.tuples(calendars, calendars),
    execution=executions(),
    sizer=sizers,
    protection=protections,
)
def test_an_idle_symbol_with_another_calendar_changes_no_order(
    simulated, walk, seed, plan, times, execution, sizer, protection
):
    """Without interest and margin, which are looked at whenever any symbol has a bar."""
    quiet = msgspec.structs.replace(execution, leverage=1.0, maintenance_margin=0.0, interest_rate=0.0)
    account = {"execution": quiet, "sizer": sizer, "protection": protection}
    alone = simulated([walk(seed, "A", times[0])], [plan], **account)
    beside = simulated([walk(seed, "A", times[0]), walk(seed, "B", times[1])], [plan], **account)
    for kind, columns in ORDER_COLUMNS.items():
        assert beside.rows(kind, *columns) == alone.rows(kind, *columns)


@some
@given(
    seed=st.integers(0, 99),
    both=st.tuples(plans, plans),
    times=st.tuples(calendars, calendars),
    execution=executions(),
    sizer=fixed_sizers,
    protection=protections,
)
def test_another_order_of_symbols_changes_no_fill(
    simulated, walk, seed, both, times, execution, sizer, protection
):
    """Of an account that can afford all its orders; else those of the first symbol come first."""
    account = {"execution": execution, "sizer": sizer, "protection": protection, "capital": 1e6}
    bars = [walk(seed, symbol, places) for symbol, places in zip("AB", times, strict=True)]
    found = []
    for order in ((0, 1), (1, 0)):
        outcome = simulated([bars[i] for i in order], [both[i] for i in order], **account)
        rows = outcome.rows(OrdersFilled, "symbol", "bar", "quantity", "price", "fee")
        found.append(sorted((order[symbol], *rest) for symbol, *rest in rows))
    assert found[0] == found[1]


def with_other_future(bars, others, cut):
    """The bars dated before a place of the timeline, then others, with their highs, lows and volumes."""
    head = np.searchsorted(bars.time, cut * SIX_HOURS)
    prices = np.concatenate((bars.prices[:, :head], others.prices[:, head:]), axis=1)
    return msgspec.structs.replace(bars, prices=prices)


def with_other_plan(plan, other, head):
    return {name: plan[name] and plan[name][:head] + (other[name] or [NAN] * BARS)[head:] for name in plan}


@some
@given(
    seed=st.integers(0, 99),
    both=st.tuples(plans, plans),
    later=plans,
    times=st.tuples(calendars, calendars),
    cut=st.integers(1, BARS - 1),
    account=accounts,
)
def test_highs_lows_and_volumes_to_come_never_change_what_has_happened(
    simulated, walk, seed, both, later, times, cut, account
):
    bars = [walk(seed, symbol, places) for symbol, places in zip("AB", times, strict=True)]
    others = [walk(seed + 100, symbol, places) for symbol, places in zip("AB", times, strict=True)]
    changed = [with_other_future(*pair, cut) for pair in zip(bars, others, strict=True)]
    heads = [int(np.searchsorted(each.time, cut * SIX_HOURS)) for each in bars]
    plans = [with_other_plan(plan, later, head) for plan, head in zip(both, heads, strict=True)]
    ours, theirs = simulated(bars, both, **account), simulated(changed, plans, **account)
    panel = Panel(bars)
    stop = int(np.searchsorted(panel.time, cut * SIX_HOURS))
    # What happens to an order while its symbol has no bar is dated by the last one that it had.
    dated = [stop if stop in places else max(places[places < stop], default=-1) for places in panel.at]
    for kind, columns in ORDER_COLUMNS.items():
        ends = [stop] * len(dated) if kind is OrdersFilled else dated
        before, after = (
            [row for row in placed_rows(outcome, kind, panel, *columns) if row[1] < ends[row[2]]]
            for outcome in (ours, theirs)
        )
        assert after == before, f"{kind.__name__} before bar {stop} changed with the bars from there on"


@some
@given(
    seed=st.integers(0, 99),
    both=st.tuples(plans, plans),
    times=st.tuples(calendars, calendars),
    account=accounts,
)
def test_every_order_ends_and_fills_what_it_may(simulated, walk, seed, both, times, account):
    """In one outcome, or in fills with the rest given up; no bar fills more than its part of the volume."""
    bars = [walk(seed, symbol, places) for symbol, places in zip("AB", times, strict=True)]
    outcome = simulated(bars, both, **account)
    count = len(outcome.rows(OrdersPlaced, "order"))
    filled, denied, canceled = (
        set(outcome.rows(kind, "order")) for kind in (OrdersFilled, OrdersDenied, OrdersCanceled)
    )
    assert filled | denied | canceled == set(range(count))
    assert not denied & (filled | canceled)
    limit = account["execution"].volume_limit
    if limit:
        used = {}
        for symbol, bar, quantity in outcome.rows(OrdersFilled, "symbol", "bar", "quantity"):
            used[symbol, bar] = used.get((symbol, bar), 0.0) + abs(quantity)
        for (symbol, bar), units in used.items():
            assert units <= limit * bars[symbol].volume[bar] * (1 + 1e-9)
    else:
        assert not filled & canceled
        assert len(filled) == len(outcome.rows(OrdersFilled, "order"))
