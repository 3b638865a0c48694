"""Simulation of containers: from a topology and its market to the events of a phase."""

from collections.abc import Iterator

import numpy as np

from .account import FILLED
from .book import CHARGES, ENDED, FILLS, PLACED, Book, book_for, extended, rows_of
from .desk import CHARGE, FILL, HOLDING, ORDER, RULES, STATE, WISH, Desk, Records
from .errors import ConfigurationError
from .events import (
    Float64,
    Int16,
    Int32,
    Int64,
    InterestCharged,
    NumericEvent,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    SignalsEmitted,
    TrialsCompleted,
)
from .execution import SizingRule
from .market import Market
from .measurement import Measures, Spans, room_for
from .metrics import METRICS
from .stitching import first_settings, joined_changes, with_turns
from .strategies import PRICES
from .sweep import run_containers
from .targets import Changes, Line, merge_wishes, slot_changes
from .topology import MAX_DRAWDOWN, Containers, LogLevel, Topology
from .weighting import weighted_lines

RECORDED = {
    LogLevel.METRICS: (TrialsCompleted,),
    LogLevel.FILLS: (InterestCharged, OrdersFilled, TrialsCompleted),
    LogLevel.FULL: (
        SignalsEmitted,
        OrdersPlaced,
        OrdersDenied,
        InterestCharged,
        OrdersFilled,
        OrdersCanceled,
        TrialsCompleted,
    ),
}
"""Which events each log level keeps, in the order in which they are recorded."""


def simulate(topology: Topology, market: Market, containers: Containers) -> Iterator[NumericEvent]:
    """Simulate containers over the market, each alone with the topology's capital.

    Yields
    ------
    SignalsEmitted, OrdersPlaced, OrdersDenied, InterestCharged, OrdersFilled, OrdersCanceled
        What happened, as far as the topology's log level asks for it, container by container. Types of which
        nothing happened are left out; all rows of a container and type are in one event.
    TrialsCompleted
        The containers with their parameters and metrics; last.

    Raises
    ------
    StrategyError
        A strategy raised, or returned something else than one target exposure in [-1, 1] per bar.
    """
    legs = containers.legs
    lines, warm = _lines(topology, market, containers if legs is None else legs)
    if legs is not None:
        lines = [
            line._replace(changes=joined_changes(line.changes, legs, market.panel, line.symbol))
            for line in lines
        ]
        warm = warm[legs.starts]
    yield from simulate_signals(topology, market, containers, lines, warm)


def simulate_signals(
    topology: Topology, market: Market, containers: Containers, lines: list[Line], warm: Int64
) -> Iterator[NumericEvent]:
    """Simulate containers that follow given signals; see `simulate`.

    Parameters
    ----------
    topology, market, containers
        As for `simulate`; the strategies of the topology are not called.
    lines
        The signals of each strategy on each symbol.
    warm
        Per container: the first bar on the timeline at which all features were defined.
    """
    ids = np.arange(containers.first_id, containers.first_id + len(containers), dtype=np.int32)
    kinds = RECORDED[topology.log]
    if SignalsEmitted in kinds:
        yield from _signals(lines, ids)
    lines = weighted_lines(lines, topology, market, containers)
    wishes, wish_ends = _wishes(lines, topology, market, containers)
    settings = _settings(topology, containers if containers.legs is None else containers.legs)
    if containers.legs is not None:
        wishes, wish_ends = with_turns(wishes, wish_ends, settings, containers.legs)
        settings = first_settings(settings, containers.legs)
    rules = _rules(topology, market, _have_prices(lines))
    book, metrics = _simulated(topology, market, containers, wishes, wish_ends, rules, settings, warm)
    priced = bool(rules["priced"][0]) or _has_exits(topology, containers)
    yield from _events(book, market, priced)
    yield TrialsCompleted(
        container=ids,
        fold=containers.fold,
        segment=containers.segment,
        first_bar=containers.first_bar,
        stop_bar=containers.stop_bar,
        parameters=dict(containers.parameters),
        metrics={name: np.ascontiguousarray(metrics[:, i]) for i, name in enumerate(METRICS)},
    )


def _lines(topology: Topology, market: Market, containers: Containers) -> tuple[list[Line], Int64]:
    """Run every strategy on its symbols, and say when all features are defined."""
    lines, warm = [], np.zeros(len(containers), np.int64)
    for number, slot in enumerate(topology.slots):
        symbols = slot.symbols or tuple(range(len(market.panel.bars)))
        weight = slot.weight if slot.symbols else slot.weight / len(symbols)
        for symbol in symbols:
            changes, defined = slot_changes(topology, slot, market, symbol, containers)
            lines.append(Line(number, symbol, weight, changes))
            places = np.append(market.panel.at[symbol], np.int32(len(market.panel)))
            warm = np.maximum(warm, places[np.minimum(defined, len(market.panel.at[symbol]))])
    return lines, warm


def _signals(lines: list[Line], ids: Int32) -> Iterator[SignalsEmitted]:
    """Put the signals of all lines together, container by container and line by line."""
    counts = np.stack([np.diff(line.changes.ends, prepend=0) for line in lines], axis=1)
    total = int(counts.sum())
    if total == 0:
        return
    container = np.repeat(ids, counts.sum(axis=1))
    bars = [line.changes.bar for line in lines]
    targets = [line.changes.target for line in lines]
    prices = [_padded(line.changes) for line in lines] if _have_prices(lines) else []
    order: Int64 | slice = slice(None)
    if len(lines) > 1:
        order = np.argsort(np.concatenate([np.repeat(ids, column) for column in counts.T]), kind="stable")
    numbers = np.repeat(np.tile(np.arange(len(lines)), len(ids)), counts.ravel())
    yield SignalsEmitted(
        container=container,
        strategy=np.array([line.slot for line in lines], np.int16)[numbers],
        symbol=np.array([line.symbol for line in lines], np.int16)[numbers],
        bar=np.concatenate(bars)[order],
        target=np.concatenate(targets)[order],
        prices=_price_columns(np.concatenate(prices)[order]) if prices else {},
    )


def _have_prices(lines: list[Line]) -> bool:
    return any(line.changes.price.size for line in lines)


def _padded(changes: Changes) -> Float64:
    """Order prices of all changes, NaN where the strategy states none."""
    return changes.price if changes.price.size else np.full((changes.bar.size, len(PRICES)), np.nan)


def _price_columns(prices: Float64) -> dict[str, Float64]:
    return {name: np.ascontiguousarray(prices[:, number]) for number, name in enumerate(PRICES)}


def _wishes(
    lines: list[Line], topology: Topology, market: Market, containers: Containers
) -> tuple[Records, Int64]:
    """Combine signals into wishes, as `WISH` records, and tell the row after each container's last one."""
    count, varies_type = len(containers), f"{topology.sizer.name}.type" in containers.parameters
    counts = np.stack([np.diff(line.changes.ends, prepend=0) for line in lines], axis=1)
    number = np.repeat(np.arange(len(lines)), counts.sum(axis=0))
    bar = np.concatenate([market.panel.at[line.symbol][line.changes.bar] for line in lines])
    target = np.concatenate([line.changes.target for line in lines])
    ends = np.cumsum(counts.sum(axis=1))
    order: Int64 | slice = slice(None)
    if len(lines) > 1:
        container = np.concatenate([np.repeat(np.arange(count), column) for column in counts.T])
        order = np.lexsort((number, bar, container))
    number, bar, target = number[order], bar[order], target[order]
    weights = np.array([line.weight for line in lines])
    symbols = np.array([line.symbol for line in lines], np.int16)
    wishes = np.empty(bar.size, WISH)
    wishes["bar"], wishes["symbol"], wishes["target"] = bar, symbols[number], target * weights[number]
    if _have_prices(lines):
        prices = np.concatenate([_padded(line.changes) for line in lines])[order]
        for column, name in enumerate(PRICES):
            wishes[name] = prices[:, column]
    if len(set(symbols.tolist())) < len(lines):
        if _have_prices(lines):
            raise ConfigurationError(
                "strategies: one that states order prices can't share a symbol with another, since their "
                "targets add up to one order; give each its own symbols."
            )
        wishes, ends = _merged(wishes, number, target, weights, symbols, ends)
    if varies_type or topology.sizer.rule is SizingRule.VOLATILITY:
        volatility = market.volatility(topology.sizer.period, topology.bars_per_year)
        wishes["volatility"] = volatility[wishes["symbol"], wishes["bar"]]
    return wishes, ends


def _merged(
    wishes: Records, number: Int64, target: Float64, weights: Float64, symbols: Int16, stops: Int64
) -> tuple[Records, Int64]:
    """Add up the targets of lines that share symbols."""
    totals = np.zeros((2, max(weights.size, int(symbols.max()) + 1)))
    ends = np.empty(stops.size, np.int64)
    start = row = 0
    for index, stop in enumerate(stops):
        part = slice(start, stop)
        row = merge_wishes(wishes[part], number[part], target[part], weights, symbols, totals, wishes, row)
        ends[index], start = row, stop
    return wishes[:row], ends


def _simulated(
    topology: Topology,
    market: Market,
    containers: Containers,
    wishes: Records,
    wish_ends: Int64,
    rules: Records,
    settings: Float64,
    warm: Int64,
) -> tuple[Book, Float64]:
    """Simulate and measure containers, with as much room for rows as it takes."""
    count, symbols = len(containers), len(market.panel.bars)
    # Of at most two orders for each wish, unless there are exits.
    most = 2 * int(np.diff(wish_ends, prepend=0).max(initial=0)) + 2 * symbols + 16
    orders, fills, charges = np.empty(most, ORDER), np.empty(most, FILL), np.empty(0, CHARGE)
    kept = RECORDED[topology.log]
    total = 2 * len(wishes) + 2 * symbols * count + 16
    book = book_for(total, containers.first_id, orders=OrdersPlaced in kept, fills=OrdersFilled in kept)
    metrics = np.empty((count, len(METRICS)))
    spans = Spans(containers.first_bar.astype(np.int64), containers.stop_bar.astype(np.int64), warm)
    measures = Measures(int(topology.profile), topology.bars_per_year, topology.capital)
    state, holdings = np.zeros(1, STATE), np.empty(symbols, HOLDING)
    time, grid, _ = market.prices
    done = 0
    while done < count:
        desk = Desk(time, grid, wishes, rules[0], state[0], holdings, orders, fills, charges)
        room = room_for(market.prices, fills.size)
        done = run_containers(desk, done, spans, wish_ends, settings, measures, room, book, metrics)
        if done < count:
            used = [int(state[name][0]) for name in ("orders", "fills", "charges")]
            book = extended(book, *used)
            orders, fills = _with_room(orders, used[0]), _with_room(fills, used[1])
            charges = _with_room(charges, used[2])
    return book, metrics


def _with_room(records: Records, used: int) -> Records:
    """Double the room for rows where all of it is used: interest has many more rows than orders."""
    return np.resize(records, 2 * records.size + 64) if used >= records.size else records


def _rules(topology: Topology, market: Market, priced: bool) -> Records:
    """Write execution, sizing and limits as one `RULES` record."""
    execution, sizer, limits = topology.execution, topology.sizer, topology.limits
    rules = np.zeros(1, RULES)
    for source in (execution, limits):
        for name in source.__struct_fields__:
            if name in (RULES.names or ()):
                rules[name] = getattr(source, name)
    rules["through"], rules["granularity"] = execution.limit, execution.granularity
    rules["minimum_trades"], rules["start"] = sizer.minimum_trades, sizer.start
    rules["priced"], rules["mark"] = priced, market.prices.mark
    rules["charged"] = execution.borrow_rate > 0.0 or execution.interest_rate > 0.0
    rules["margined"] = execution.leverage > 1.0 or execution.maintenance_margin > 0.0
    return rules


def _settings(topology: Topology, containers: Containers) -> Float64:
    """Size; stop loss, take profit, trailing stop, largest drawdown as fractions; the sizing rule.

    Last 1 or 0 for whether it has exits, and a largest drawdown. Shape (n_rows, 8).
    """
    settings = np.empty((len(containers), 8))
    settings[:, 5] = topology.sizer.rule
    for number, (name, value) in enumerate(topology.risk_parameters.items()):
        varied = containers.parameters.get(name)
        if not isinstance(value, str):
            settings[:, number] = value if varied is None else varied.astype(np.float64)
        elif varied is not None:
            settings[:, number] = [SizingRule[rule.upper()] for rule in varied.tolist()]
    settings[:, 1:5] /= 100.0
    if MAX_DRAWDOWN not in containers.parameters:
        settings[:, 4] = topology.limits.max_drawdown
    settings[:, 6] = (settings[:, 1:4] > 0.0).any(axis=1)
    settings[:, 7] = settings[:, 4] > 0.0
    return settings


def _own_bars(market: Market, symbol: Int16, bar: Int32) -> Int32:
    """Numbers of bars among those of their symbol, from their places on the timeline."""
    if len(market.panel.bars) == 1:
        return bar
    own = np.empty_like(bar)
    for number, places in enumerate(market.panel.own):
        own[symbol == number] = places[bar[symbol == number]]
    return own


def _has_exits(topology: Topology, containers: Containers) -> bool:
    """Say whether positions may have exits attached: their orders then have prices."""
    exits = topology.protection.parameters
    return any(value > 0.0 for value in exits.values()) or not exits.keys().isdisjoint(containers.parameters)


def _events(book: Book, market: Market, priced: bool) -> Iterator[NumericEvent]:
    used = book.rows.tolist()
    placed, ended = rows_of(book.placed, slice(used[PLACED])), rows_of(book.ended, slice(used[ENDED]))
    filled, charged = rows_of(book.filled, slice(used[FILLS])), rows_of(book.charged, slice(used[CHARGES]))
    if placed.bar.size:
        yield OrdersPlaced(
            container=placed.container,
            order=placed.order,
            symbol=placed.symbol,
            bar=_own_bars(market, placed.symbol, placed.bar),
            type=placed.type,
            target=placed.target,
            prices={"limit": placed.limit, "stop": placed.stop} if priced else {},
        )
    denied, canceled = rows_of(ended, ended.outcome > FILLED), rows_of(ended, ended.outcome < FILLED)
    if denied.bar.size:
        yield OrdersDenied(
            container=denied.container,
            order=denied.order,
            symbol=denied.symbol,
            bar=_own_bars(market, denied.symbol, denied.bar),
            rule=denied.outcome,
            required=denied.required,
            available=denied.available,
        )
    if charged.bar.size:
        own = _own_bars(market, charged.symbol, charged.bar)
        yield InterestCharged(
            container=charged.container,
            symbol=charged.symbol,
            bar=np.where(charged.symbol < 0, charged.bar, own),
            amount=charged.amount,
        )
    if filled.bar.size:
        own = _own_bars(market, filled.symbol, filled.bar)
        yield OrdersFilled(**filled._replace(bar=own)._asdict())
    if canceled.bar.size:
        yield OrdersCanceled(
            container=canceled.container,
            order=canceled.order,
            symbol=canceled.symbol,
            bar=_own_bars(market, canceled.symbol, canceled.bar),
            reason=-canceled.outcome,
        )
