"""Random configurations in installed peers, where their policies match ours: every trade, and final equity.

vectorbt, PyBroker and backtesting.py answer from an environment of their own, which `make peers` builds. What
they are not asked, and why, is in docs/conformance.md.
"""

import json
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from admf.coordinator.market.market_data import find_data_file, load_bars
from admf.domain.events import OrdersFilled
from admf.domain.execution import EndOfData, Execution, FillPrice, Protection, Rounding, Sizer, SizingRule
from admf.domain.market import Market
from admf.domain.panel import Panel
from admf.domain.portfolio import Trades, round_trips, settle
from admf.domain.strategies import STRATEGIES
from admf.domain.targets import strategy_targets
from admf.domain.topology import StrategySlot
from hypothesis import assume, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("ADMF_PEERS_PYTHON", ROOT / ".venv-bench/bin/python"))
SIDES = {"both": (-1.0, 1.0), "long": (0.0, 1.0), "short": (-1.0, 0.0)}
SIZING = {"percentage": SizingRule.PERCENTAGE, "units": SizingRule.UNITS, "value": SizingRule.SIZE}
MARKED = 0.0
"""What stands for the exit price of an open trade."""

MOST_LOST = 0.6
"""Deepest drawdown that is compared: beyond it peers have rules of their own for an account without money."""

examples = settings(max_examples=200, deadline=None)


class Sample(NamedTuple):
    """What bars a configuration trades: real ones from a row on, or a random walk from a seed."""

    source: str
    start: int
    count: int
    volatility: float


class Plan(NamedTuple):
    """A strategy with its parameters, or random targets from a seed, among some levels."""

    strategy: str
    parameters: dict
    seed: int
    levels: tuple
    direction: str


class Case(NamedTuple):
    """A configuration in words of our own; nothing is decided on the last ``quiet`` bars."""

    sample: Sample
    plan: Plan
    capital: float
    sizing: str
    size: float
    execution: Execution
    protection: Protection = Protection()
    quiet: int = 0


samples = st.builds(
    Sample,
    source=st.sampled_from(["walk", "walk", "sp500.csv", "nasdaq.csv"]),
    start=st.integers(0, 4_000),
    count=st.integers(30, 160),
    volatility=st.sampled_from([0.004, 0.01, 0.02, 0.03]),
)
rates = st.sampled_from([0.0, 0.0005, 0.001, 0.002, 0.01])
fixed_fees = st.sampled_from([0.0, 1.0, 4.95])
slippages = st.sampled_from([0.0, 0.0, 0.0001, 0.0025])
WHOLE, PARTS = (-1.0, 0.0, 1.0), (-1.0, -0.5, 0.0, 0.25, 0.5, 1.0)
EITHER = {
    "sma_crossover": st.fixed_dictionaries({"fast": st.integers(2, 6), "slow": st.integers(7, 20)}),
    "momentum": st.fixed_dictionaries(
        {"lookback": st.integers(1, 12), "threshold": st.sampled_from([0.0, 0.01, 0.03])}
    ),
    "rsi": st.fixed_dictionaries(
        {"period": st.integers(2, 10), "oversold": st.just(35.0), "overbought": st.just(65.0)}
    ),
}


@st.composite
def plans(draw, levels=WHOLE, directions=tuple(SIDES)):
    name = draw(st.sampled_from(["", *EITHER]))
    parameters = draw(EITHER[name]) if name else {}
    return Plan(name, parameters, draw(st.integers(0, 2**32)), levels, draw(st.sampled_from(directions)))


@pytest.fixture(scope="session")
def real_bars():
    return {name: load_bars(find_data_file(name), "REAL", "1d") for name in ("sp500.csv", "nasdaq.csv")}


@pytest.fixture(scope="session")
def bars_of(real_bars, make_bars):
    def make(sample):
        if sample.source != "walk":
            real = real_bars[sample.source]
            rows = slice(sample.start, sample.start + sample.count)
            columns = (getattr(real, name)[rows] for name in ("open", "high", "low", "close"))
            opens, high, low, close = columns
        else:
            random = np.random.default_rng(sample.start)
            size, volatility = sample.count, sample.volatility
            close = 100 * np.exp(np.cumsum(random.normal(0, volatility, size)))
            opens = np.append(100.0, close[:-1]) * np.exp(random.normal(0, volatility / 4, size))
            reach = np.abs(random.normal(0, volatility / 2, (2, size)))
            high = np.maximum(opens, close) * (1 + reach[0])
            low = np.minimum(opens, close) * (1 - reach[1])
            opens, high, low, close = (np.round(column, 4) for column in (opens, high, low, close))
        return make_bars(close, opens, high=high, low=low, volume=1e9)

    return make


def targets_of(plan, bars):
    """The exposures that the plan wishes for after each bar; none after the first one."""
    if plan.strategy:
        strategy = STRATEGIES.get(plan.strategy)
        slot = StrategySlot(name="s", strategy=strategy, parameters=strategy.resolve(plan.parameters, "s"))
        market = Market(Panel([bars]), tuple(strategy.needs(slot.parameters).values()))
        targets, _ = strategy_targets(slot, slot.parameters, market)
    else:
        random = np.random.default_rng(plan.seed)
        changes = random.random(len(bars)) < random.choice([0.05, 0.2, 0.6])
        targets = np.where(changes, random.choice(plan.levels, len(bars)), np.nan)
    held, wished = np.zeros(len(bars)), 0.0
    for t, target in enumerate(targets.tolist()):
        wished = wished if np.isnan(target) or t == 0 else target
        held[t] = wished
    return np.clip(held, *SIDES[plan.direction])


def question_of(case, bars, targets):
    execution = case.execution
    return {
        **{name: getattr(bars, name).tolist() for name in ("open", "high", "low", "close")},
        "target": targets.tolist(),
        "partly": case.plan.levels is PARTS,
        "capital": case.capital,
        "sizing": case.sizing,
        "size": case.size / 100.0 if case.sizing == "percentage" else case.size,
        "granularity": execution.granularity,
        "commission": execution.commission_rate,
        "per_unit": execution.commission_per_unit,
        "fixed": execution.commission_fixed,
        "slippage": execution.slippage,
        **{name.removeprefix("risk."): value / 100.0 for name, value in case.protection.parameters.items()},
        "fill": execution.fill.name.lower(),
        "end": execution.end.name.lower(),
    }


def trades_of(outcome, capital, last_close, *, gross):
    rows = outcome.rows(OrdersFilled, "bar", "quantity", "price", "fee")
    if not rows:
        return []
    bar, quantity, price, fee = map(np.array, zip(*rows, strict=True))
    position, cash, trades = np.empty(bar.size), np.empty(bar.size), Trades.empty(bar.size)
    settle(quantity, price, fee, capital, position, cash)
    count = round_trips(quantity, price, fee, position, last_close, trades)
    found = []
    for i in range(count):
        leave, profit = int(trades.exit_fill[i]), trades.pnl[i] + (trades.fee[i] if gross else 0.0)
        is_open = leave < 0
        found.append(
            (
                int(bar[trades.entry_fill[i]]),
                -1 if is_open else int(bar[leave]),
                float(trades.side[i] * trades.quantity[i]),
                float(trades.entry_price[i]),
                MARKED if is_open else float(trades.exit_price[i]),
                float(profit),
            )
        )
    return found


def ends_beyond_a_target(protection, bars, trades):
    """Say whether a position that has a stop, too, ends at an open beyond its target."""
    gain = protection.take_profit / 100.0
    return (protection.stop_loss > 0.0 or protection.trailing_stop > 0.0) and any(
        price == bars.open[leave] and (price - entry) * np.sign(size) > gain * entry > 0.0
        for _, leave, size, entry, price, _ in trades
    )


@pytest.fixture(scope="session")
def ask():
    """Ask a peer by the name of its script; it stays for the next question."""
    if not PYTHON.exists():
        reason = f"no peers in {PYTHON}: build their environment by `make peers`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with ExitStack() as stack:
        known = {}

        def asked(peer, question):
            if peer not in known:
                command = [PYTHON, ROOT / f"tests/peers/with_{peer}.py"]
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                stack.callback(process.communicate)
                known[peer] = process
            process = known[peer]
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line, f"{peer} failed: {question}"
            return json.loads(line)

        yield asked


@pytest.fixture(scope="session")
def agree(ask, bars_of, run, make_topology, make_containers, scripted):
    """Simulate a case here and in a peer, and compare."""

    def compared(peer, case, *, gross=False, engine=""):
        bars = bars_of(case.sample)
        targets = targets_of(case.plan, bars)
        targets[len(bars) - case.quiet :] = targets[len(bars) - case.quiet - 1]
        topology = make_topology(
            scripted(*targets),
            sizer=Sizer(rule=SIZING[case.sizing], value=case.size),
            execution=case.execution,
            protection=case.protection,
            capital=case.capital,
        )
        outcome = run(topology, bars, make_containers([(0, len(bars))]))
        ours = trades_of(outcome, case.capital, float(bars.close[-1]), gross=gross)
        assume(outcome.metric("max_drawdown") < MOST_LOST)
        assume(not ends_beyond_a_target(case.protection, bars, ours))
        theirs = ask(peer, question_of(case, bars, targets) | {"engine": engine})
        assert len(ours) == len(theirs["trades"])
        for one, other in zip(ours, theirs["trades"], strict=True):
            assert one[:2] == tuple(other[:2])
            assert one[2:5] == pytest.approx(other[2:5], rel=1e-9)
            # A profit is a difference: what it may be off is a part of what was paid.
            assert one[5] == pytest.approx(other[5], rel=1e-9, abs=1e-9 * abs(one[2] * one[3]))
        assert outcome.metric("final_equity") == pytest.approx(theirs["equity"], rel=1e-9)
        return len(ours)

    return compared


@st.composite
def executions(draw, fills=tuple(FillPrice), ends=tuple(EndOfData), **choices):
    fill = draw(st.sampled_from(fills))
    if fill is not FillPrice.NEXT_OPEN:
        ends = [end for end in ends if end is not EndOfData.CLOSE_AT_OPEN]
    costs = {name: draw(values) for name, values in choices.items()}
    return Execution(fill=fill, end=draw(st.sampled_from(ends)), **costs)


@st.composite
def vectorbt_cases(draw):
    sizing = draw(st.sampled_from(["percentage", "percentage", "units", "value"]))
    costs = {"commission_rate": rates, "commission_fixed": fixed_fees, "slippage": slippages}
    levels = draw(st.sampled_from([WHOLE, PARTS]))
    sizes = {"percentage": [5.0, 40.0, 95.0, 100.0], "units": [1.0, 8.0, 100.0], "value": [500.0, 9_000.0]}
    size, capital = (
        draw(st.sampled_from(sizes[sizing])),
        draw(st.sampled_from([1_000.0, 10_000.0, 54_321.98])),
    )
    if levels is PARTS:
        size, capital = (min(size, 50.0), capital) if sizing == "percentage" else (size, 1e6)
    if sizing == "value" or (sizing == "percentage" and levels is PARTS):
        costs = {}
    elif sizing == "percentage" and size < 100.0:
        del costs["commission_fixed"]
    if sizing == "percentage" and levels is WHOLE:
        costs["rounding"], costs["lot"] = st.sampled_from(Rounding), st.sampled_from([0.125, 0.25, 8.0])
    return Case(draw(samples), draw(plans(levels)), capital, sizing, size, draw(executions(**costs)))


@st.composite
def vectorbt_exits(draw):
    """Fills at closes without slippage: it measures exits from the price of its signal."""
    stop, trail = draw(st.sampled_from([(0.0, 0.0), (1.0, 0.0), (4.0, 0.0), (0.0, 2.0), (0.0, 6.0)]))
    profit = draw(st.sampled_from([1.0, 3.0, 10.0] if stop == trail == 0.0 else [0.0, 2.0, 6.0]))
    protection = Protection(stop_loss=stop, trailing_stop=trail, take_profit=profit)
    costs = {"commission_rate": rates, "commission_fixed": fixed_fees}
    execution = draw(executions([FillPrice.SAME_CLOSE], [EndOfData.MARK], **costs))
    plan = draw(plans(directions=("long", "short")))
    return Case(draw(samples), plan, 1e6, "units", draw(st.sampled_from([1.0, 50.0])), execution, protection)


@st.composite
def pybroker_cases(draw):
    fee = draw(st.sampled_from(["commission_rate", "commission_per_unit", "commission_fixed"]))
    values = {"commission_rate": rates, "commission_per_unit": st.sampled_from([0.005, 0.02])}
    costs = {fee: values.get(fee, fixed_fees), "slippage": slippages}
    costs["rounding"] = st.sampled_from([Rounding.FRACTION, Rounding.FLOOR])
    execution = draw(executions([FillPrice.NEXT_OPEN, FillPrice.NEXT_CLOSE], **costs))
    sizes = [1.0, 7.0, 100.0] + [0.37, 12.5] * (execution.rounding is Rounding.FRACTION)
    # A reversal is one order there, which pays a fixed fee once.
    directions = ("long", "short") if fee == "commission_fixed" else tuple(SIDES)
    plan = draw(plans(directions=directions))
    return Case(draw(samples), plan, 1e6, "units", draw(st.sampled_from(sizes)), execution)


@st.composite
def backtesting_cases(draw):
    sizing = draw(st.sampled_from(["percentage", "units"]))
    fill = draw(st.sampled_from([FillPrice.NEXT_OPEN, FillPrice.SAME_CLOSE]))
    ends = [EndOfData.MARK] + [EndOfData.CLOSE_AT_OPEN] * (fill is FillPrice.NEXT_OPEN)
    costs = {"commission_rate": rates, "rounding": st.just(Rounding.FLOOR)}
    capital, size = 1e6, draw(st.sampled_from([1.0, 20.0, 300.0]))
    if sizing == "percentage":
        capital, size = draw(st.sampled_from([2_000.0, 50_000.0])), draw(st.sampled_from([10.0, 60.0, 100.0]))
    else:
        costs["commission_fixed"] = fixed_fees
    execution = draw(executions([fill], ends, **costs))
    quiet = 2 if execution.end is EndOfData.CLOSE_AT_OPEN else int(fill is FillPrice.SAME_CLOSE)
    return Case(draw(samples), draw(plans()), capital, sizing, size, execution, quiet=quiet)


def compare(agree, peer, cases, **how):
    """Compare 200 cases, and see that they were worth it."""
    seen = []

    @examples
    @given(case=cases)
    def one(case):
        seen.append(agree(peer, case, **how))

    one()
    assert sum(map(bool, seen)) >= 120
    assert sum(seen) >= 500


@pytest.mark.parametrize("engine", ["rust", "numba"])
def test_vectorbt_trades_as_we_do(agree, engine):
    compare(agree, "vectorbt", vectorbt_cases(), engine=engine)


@pytest.mark.parametrize("engine", ["rust", "numba"])
def test_vectorbt_ends_positions_as_we_do(agree, engine):
    compare(agree, "vectorbt", vectorbt_exits(), engine=engine)


def test_pybroker_trades_as_we_do(agree):
    compare(agree, "pybroker", pybroker_cases(), gross=True)


def test_backtesting_py_trades_as_we_do(agree):
    compare(agree, "backtesting", backtesting_cases())
