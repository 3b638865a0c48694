"""What holds for every simulation, whatever the targets, prices and policies."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from admf.domain import targets
from admf.domain.columns import joined
from admf.domain.engine import simulate
from admf.domain.events import (
    InterestCharged,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    SignalsEmitted,
    TrialsCompleted,
)
from admf.domain.execution import EndOfData, Execution, FillPrice, Rounding, Sizer, SizingRule
from admf.domain.market import Market
from admf.domain.metrics import METRICS
from admf.domain.panel import Panel
from admf.domain.portfolio import Trades, round_trips, settle
from admf.domain.strategies import mean_reversion, momentum, sma_crossover
from admf.domain.topology import LogLevel, StrategySlot, needed_features
from hypothesis import given, settings
from hypothesis import strategies as st

BARS = 24
CAPITAL = 1000.0
few = settings(max_examples=60, deadline=None)

scripts = st.lists(st.sampled_from([np.nan, -1.0, -0.5, 0.0, 0.3, 1.0]), min_size=BARS, max_size=BARS)
windows = st.tuples(st.integers(0, BARS - 1), st.integers(1, BARS)).map(
    lambda pair: (pair[0], min(pair[0] + pair[1], BARS))
)
sizers = st.one_of(
    st.floats(1, 100).map(lambda value: Sizer(value=value)),
    st.floats(0.01, 15).map(lambda value: Sizer(rule=SizingRule.UNITS, value=value)),
    st.floats(10, 1500).map(lambda value: Sizer(rule=SizingRule.SIZE, value=value)),
)
percentages = st.floats(1, 100).map(lambda value: Sizer(value=value))


@st.composite
def executions(draw, roundings=tuple(Rounding), fixed=5.0):
    fill = draw(st.sampled_from(FillPrice))
    ends = list(EndOfData) if fill is FillPrice.NEXT_OPEN else [EndOfData.MARK, EndOfData.CLOSE]
    return Execution(
        fill=fill,
        rounding=draw(st.sampled_from(roundings)),
        end=draw(st.sampled_from(ends)),
        commission_rate=draw(st.sampled_from([0.0, 0.001, 0.02])),
        commission_fixed=draw(st.sampled_from([0.0, fixed])),
        slippage=draw(st.sampled_from([0.0, 0.0005, 0.03])),
    )


def fills_of(outcome):
    rows = outcome.rows(OrdersFilled, "bar", "quantity", "price", "fee")
    return np.array(rows, float).reshape(-1, 4)


def account_of(fills, window, close):
    """Cash, position and equity at each close of a window, from the fills alone."""
    cash, position, rows = CAPITAL, 0.0, []
    for bar in range(*window):
        for _, quantity, price, fee in fills[fills[:, 0] == bar]:
            cash, position = cash - quantity * price - fee, position + quantity
        rows.append((cash, position, cash + position * close[bar]))
    return np.array(rows).T


@few
@given(seed=st.integers(0, 9), script=scripts, window=windows, sizer=sizers, execution=executions())
def test_equity_follows_from_the_fills_alone(trade, random_bars, seed, script, window, sizer, execution):
    bars = random_bars(seed, BARS, 0.1)
    outcome = trade(bars, script, window=window, sizer=sizer, execution=execution)
    _, position, equity = account_of(fills_of(outcome), window, bars.close)
    assert outcome.metric("final_equity") == pytest.approx(equity[-1], rel=1e-9, abs=1e-6)
    assert outcome.metric("peak_equity") == pytest.approx(max(CAPITAL, equity.max()), rel=1e-9)
    drawdown = 1 - equity / np.maximum.accumulate(np.maximum(equity, CAPITAL))
    assert outcome.metric("max_drawdown") == pytest.approx(drawdown.max(), rel=1e-9, abs=1e-12)
    assert outcome.metric("exposure") == pytest.approx(np.mean(position != 0))


@few
@given(script=scripts, window=windows, sizer=sizers, execution=executions())
def test_the_equity_at_any_bar_is_what_a_window_that_ends_there_ends_with(
    trade, random_bars, script, window, sizer, execution
):
    """So the whole curve that metrics are measured on is the account's, not only its end."""
    bars = random_bars(1, BARS, 0.1)
    marked = Execution(**{**_fields(execution), "end": EndOfData.MARK})
    whole = trade(bars, script, window=window, sizer=sizer, execution=marked)
    _, _, equity = account_of(fills_of(whole), window, bars.close)
    for bar in range(*window):
        part = trade(bars, script, window=(window[0], bar + 1), sizer=sizer, execution=marked)
        assert part.metric("final_equity") == pytest.approx(equity[bar - window[0]], rel=1e-9, abs=1e-6)


def _fields(execution):
    return {name: getattr(execution, name) for name in execution.__struct_fields__}


@few
@given(seed=st.integers(0, 9), script=scripts, window=windows, sizer=sizers, execution=executions())
def test_profits_of_all_trades_add_up_to_what_the_account_gained(
    trade, random_bars, seed, script, window, sizer, execution
):
    bars = random_bars(seed, BARS, 0.1)
    outcome = trade(bars, script, window=window, sizer=sizer, execution=execution)
    _, quantity, price, fee = np.ascontiguousarray(fills_of(outcome).T)
    position, cash, trades = np.empty(fee.size), np.empty(fee.size), Trades.empty(fee.size)
    settle(quantity, price, fee, CAPITAL, position, cash)
    count = round_trips(quantity, price, fee, position, bars.close[window[1] - 1], trades)
    gained = outcome.metric("final_equity") - CAPITAL
    assert trades.pnl[:count].sum() == pytest.approx(gained, abs=1e-6)
    assert outcome.metric("trades") == np.count_nonzero(trades.exit_fill[:count] >= 0)
    assert outcome.metric("fees") == pytest.approx(fee.sum())


@few
@given(script=scripts, sizer=percentages, execution=executions(roundings=(Rounding.FRACTION,), fixed=0.0))
def test_twice_the_prices_and_the_capital_give_the_same_returns(
    trade, make_bars, random_bars, script, sizer, execution
):
    bars = random_bars(2, BARS, 0.1)
    once = trade(bars, script, sizer=sizer, execution=execution)
    twice = trade(
        make_bars(2 * bars.close, 2 * bars.open),
        script,
        sizer=sizer,
        execution=execution,
        capital=2 * CAPITAL,
    )
    for name in METRICS:
        factor = 2 if name in {"final_equity", "peak_equity", "expectancy", "fees"} else 1
        np.testing.assert_array_equal(twice.metric(name), factor * once.metric(name), err_msg=name)
    assert twice.rows(OrdersFilled, "bar", "quantity") == once.rows(OrdersFilled, "bar", "quantity")


@few
@given(
    script=scripts,
    future=scripts,
    cut=st.integers(1, BARS - 1),
    sizer=sizers,
    execution=executions(),
)
def test_bars_to_come_never_change_what_has_happened(
    trade, make_bars, random_bars, script, future, cut, sizer, execution
):
    bars, other = random_bars(3, BARS, 0.1), random_bars(4, BARS, 0.1)
    changed = make_bars(
        np.concatenate((bars.close[:cut], other.close[cut:])),
        np.concatenate((bars.open[:cut], other.open[cut:])),
    )
    ours = trade(bars, script, sizer=sizer, execution=execution)
    theirs = trade(changed, script[:cut] + future[cut:], sizer=sizer, execution=execution)
    last = cut - 1 if execution.end is EndOfData.MARK else min(cut - 1, BARS - 2)
    for kind in (SignalsEmitted, OrdersPlaced, OrdersDenied, OrdersFilled):
        columns = [name for name in kind.__struct_fields__ if name not in ("bar", "prices")]
        before, after = (
            [row for row in outcome.rows(kind, "bar", *columns) if row[0] <= last]
            for outcome in (ours, theirs)
        )
        assert after == before, f"{kind.__name__} up to bar {last} changed with the bars after it"


@few
@given(script=scripts, seed=st.integers(0, 9), sizer=percentages, execution=executions())
def test_no_purchase_overdraws_an_account_without_margin(trade, random_bars, script, seed, sizer, execution):
    outcome = trade(random_bars(seed, BARS, 0.1), script, sizer=sizer, execution=execution)
    cash, position = CAPITAL, 0.0
    for _, quantity, price, fee in fills_of(outcome):
        cash, position = cash - quantity * price - fee, position + quantity
        if quantity > 0 and position > 1e-9:
            assert cash >= -1e-9 * CAPITAL


@few
@given(script=scripts, window=windows, sizer=sizers, execution=executions())
def test_every_order_has_exactly_one_outcome(trade, random_bars, script, window, sizer, execution):
    outcome = trade(random_bars(5, BARS, 0.1), script, window=window, sizer=sizer, execution=execution)
    placed = outcome.rows(OrdersPlaced, "order")
    ended = [
        order
        for kind in (OrdersFilled, OrdersDenied, OrdersCanceled)
        for order in outcome.rows(kind, "order")
    ]
    assert placed == list(range(len(placed))) == sorted(ended)
    bars = outcome.rows(OrdersFilled, "bar")
    assert all(window[0] <= earlier <= later < window[1] for earlier, later in pairwise(bars))


@pytest.fixture(scope="module")
def sweep(make_topology, make_containers, random_bars):
    """A topology of two strategies, its market, and containers over two windows."""
    bars = random_bars(6, 300)
    topology = make_topology(
        StrategySlot(name="cross", strategy=sma_crossover, parameters={"fast": 5, "slow": 20}, weight=0.6),
        StrategySlot(
            name="fade",
            strategy=mean_reversion,
            parameters={"lookback": 10, "threshold": 1.0},
            weight=0.4,
        ),
        sizer=Sizer(name="part"),
        execution=Execution(commission_rate=0.001, slippage=0.0005),
    )
    fast = np.arange(2, 14)
    containers = make_containers(
        [(0, 200), (150, 300)] * 6, cross__fast=fast, part__percentage=np.linspace(10.0, 100.0, 12)
    )
    features = needed_features(topology, containers)
    return topology, Market(Panel([bars]), features), containers


def merged(parts):
    """The events of several parts of a sweep, joined by type."""
    kinds = {type(event): [] for part in parts for event in part}
    for part in parts:
        for event in part:
            kinds[type(event)].append(event)
    return {kind: joined(events) for kind, events in kinds.items()}


def assert_identical(ours, theirs):
    assert ours.keys() == theirs.keys()
    for kind, event in ours.items():
        for name in kind.__struct_fields__:
            left, right = getattr(event, name), getattr(theirs[kind], name)
            pairs = [(left, right)] if isinstance(left, np.ndarray) else [(left[k], right[k]) for k in left]
            for one, other in pairs:
                assert one.dtype == other.dtype
                assert one.tobytes() == other.tobytes(), f"{kind.__name__}.{name}"


@settings(max_examples=15, deadline=None)
@given(cuts=st.sets(st.integers(1, 11)))
def test_containers_give_the_same_bits_together_one_by_one_and_in_any_split(sweep, cuts):
    topology, market, containers = sweep
    whole = merged([list(simulate(topology, market, containers))])
    edges = [0, *sorted(cuts), len(containers)]
    parts = [list(simulate(topology, market, containers.part(*edge))) for edge in pairwise(edges)]
    assert_identical(merged(parts), whole)


def test_a_fault_of_the_loop_around_a_strategy_is_raised_and_not_hidden_by_calling_it(sweep, monkeypatch):
    def broken(*_):
        raise RuntimeError("kept machine code can't be loaded")

    monkeypatch.setattr(targets, "_driver", lambda *_: broken)
    with pytest.raises(RuntimeError, match="kept machine code"):
        list(simulate(*sweep))


def test_containers_are_numbered_from_their_first_id(sweep):
    topology, market, containers = sweep
    (*_, trials) = simulate(topology, market, containers.part(3, 5))
    assert trials.container.tolist() == [3, 4]
    assert trials.parameters["cross.fast"].tolist() == [5, 6]


def test_a_lower_log_level_drops_events_and_changes_no_metric(run, make_topology, sweep):
    topology, market, containers = sweep
    fields = {name: getattr(topology, name) for name in topology.__struct_fields__}
    outcomes = {}
    for level in LogLevel:
        fields["log"] = level
        slots = fields["slots"]
        changed = make_topology(*slots, **{key: value for key, value in fields.items() if key != "slots"})
        outcomes[level] = merged([list(simulate(changed, market, containers))])
    full = outcomes[LogLevel.FULL]
    kinds = {SignalsEmitted, OrdersPlaced, OrdersFilled, OrdersCanceled, TrialsCompleted}
    assert set(full) == kinds
    assert set(outcomes[LogLevel.FILLS]) == {OrdersFilled, TrialsCompleted}
    assert set(outcomes[LogLevel.METRICS]) == {TrialsCompleted}
    for events in outcomes.values():
        assert_identical(events, {kind: full[kind] for kind in events})


def test_the_trials_come_last(sweep):
    assert [type(event) for event in simulate(*sweep)] == [
        SignalsEmitted,
        OrdersPlaced,
        OrdersFilled,
        OrdersCanceled,
        TrialsCompleted,
    ]


def test_a_window_in_the_middle_warms_up_on_the_bars_before_it(
    run, make_topology, make_containers, random_bars
):
    bars = random_bars(7, 120)
    slot = StrategySlot(
        name="trend",
        strategy=momentum,
        parameters={"lookback": 50, "threshold": 0.0},
    )
    topology = make_topology(slot)
    whole = run(topology, bars, make_containers([(0, 120)]))
    later = run(topology, bars, make_containers([(60, 120)]))
    signals = whole.rows(SignalsEmitted, "bar", "target")
    held = [target for bar, target in signals if bar <= 60][-1]
    assert later.rows(SignalsEmitted, "bar", "target") == [
        (60, held),
        *[(bar, target) for bar, target in signals if bar > 60],
    ]


def test_interest_at_every_bar_needs_room_for_interest_alone(
    run, make_topology, make_containers, make_bars, scripted
):
    bars, count = make_bars([100.0] * 4000), 60
    topology = make_topology(scripted(*[-1] * 4000), execution=Execution(borrow_rate=0.01))
    tracemalloc.start()
    outcome = run(topology, bars, make_containers([(0, 4000)] * count))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(outcome.rows(InterestCharged, "amount")) == count * 3998
    assert peak < 80e6


def test_partial_fills_of_many_containers_are_those_of_one(
    run, make_topology, make_containers, make_bars, scripted
):
    bars, count = make_bars([100.0] * 400), 30
    policy = Execution(volume_limit=0.001)
    units = Sizer(rule=SizingRule.UNITS, value=bars.volume[0] * 0.3)
    topology = make_topology(scripted(*[1] * 400), execution=policy, sizer=units, capital=1e9)
    alone = run(topology, bars, make_containers([(0, 400)])).rows(OrdersFilled, "bar", "quantity")
    together = run(topology, bars, make_containers([(0, 400)] * count))
    assert len(alone) == 300
    assert together.rows(OrdersFilled, "bar", "quantity") == alone * count
    assert together.rows(OrdersFilled, "container") == [c for c in range(count) for _ in alone]
