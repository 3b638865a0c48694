"""From strategies to wishes: the target exposures of each container, kept as their changes.

A target that lasts is one row, however many bars it lasts for; what comes after strategies, from the log to
the order loop, sees changes only.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from .bars import iso_time
from .compiled import compiled_from, compiled_lean, is_compiled, trailing_zeros
from .desk import Rows, Wish
from .errors import StrategyError
from .events import Column, Float64, Int16, Int32, Int64, Scalar
from .features import SERIES
from .market import Market
from .scans import WORD, changed
from .strategies import PRICES, checked_signals
from .topology import Containers, StrategySlot, Topology, distinct_features


class Changes(NamedTuple):
    """Changes of one target exposure in several containers, container after container.

    Attributes
    ----------
    ends
        The row after each container's last change, shape (n_containers,).
    bar
        The symbol's bar at whose close the target changed, shape (n_changes,).
    target
        The new target.
    price
        Order prices in the columns of `PRICES`, shape (n_changes, 4), or (0, 4) where the strategy states
        none.
    """

    ends: Int64
    bar: Int32
    target: Float64
    price: Float64


class Line(NamedTuple):
    """One strategy on one symbol: a line of signals."""

    slot: int
    symbol: int
    weight: float
    changes: Changes


ROOM = 16
"""Bars per change that room is made for at first."""


@compiled_lean
def first_defined(values: Float64) -> int:
    """Return the index of the first value that is not NaN, or the number of values."""
    for t in range(values.size):
        if not np.isnan(values[t]):
            return t
    return int(values.size)


@compiled_lean
def write_changes(
    targets: Float64,
    window: tuple[int, int],
    bounds: tuple[float, float],
    bar: Int32,
    target: Float64,
    row: int,
) -> tuple[int, int]:
    """Write each change of a target inside a window, from flat before it, from ``row`` on.

    Parameters
    ----------
    targets
        Target exposure after each bar, NaN for "as before", shape (n_bars,).
    window
        The first bar, and the bar after the last. Earlier targets count as far as they last into it.
    bounds
        Lowest and highest target; others are brought to the nearer one.
    bar, target, row
        Where changes are written.

    Returns
    -------
    tuple[int, int]
        The row after the last one written, or -1 where there is no room; and the first bar with a target
        outside of [-1, 1], or -1.
    """
    first, stop = window
    lowest, highest = bounds
    begin, wish, last = row, 0.0, 0.0
    t = 0
    while t < stop:
        # Only the first bar, and one whose value is not that of the bar before, can change the wish.
        many = 0 < t <= stop - WORD
        candidates = changed(targets, t) if many else np.uint64(1)
        while candidates != np.uint64(0):
            at = t + trailing_zeros(candidates)
            candidates &= candidates - np.uint64(1)
            if np.isnan(targets[at]) or targets[at] == wish:
                continue
            wish = targets[at]
            if wish < -1.0 or wish > 1.0:
                return row, at
            if at <= first:
                row, last = begin, 0.0
            held = min(max(wish, lowest), highest)
            if held == last or first >= stop:
                continue
            if row >= bar.size:
                return -1, -1
            bar[row], target[row] = max(at, first), held
            last = held
            row += 1
        t += WORD if many else 1
    return row, -1


@compiled_lean
def merge_wishes(
    wishes: Rows[Wish],
    lines: Int64,
    targets: Float64,
    weights: Float64,
    symbols: Int16,
    totals: Float64,
    out: Rows[Wish],
    row: int,
) -> int:
    """Merge the changes of several lines of signals, in one container, into the wishes of its portfolio.

    Parameters
    ----------
    wishes, lines, targets
        The changes in the order of time: when, of which line, to what.
    weights, symbols
        Of each line.
    totals
        Scratch: shape (2, the larger of n_lines and n_symbols).
    out, row
        Where wishes are written; the return value is the row after the last one. It may be the array that
        ``wishes`` is a part of, as long as ``row`` does not lie behind that part's beginning.
    """
    current, wished = totals[0], totals[1]
    current[:], wished[:] = 0.0, 0.0
    i = 0
    while i < wishes.size:
        bar = wishes[i].bar
        stop = i
        while stop < wishes.size and wishes[stop].bar == bar:
            current[lines[stop]] = targets[stop]
            stop += 1
        for j in range(i, stop):
            s = symbols[lines[j]]
            total = 0.0
            for k in range(weights.size):
                if symbols[k] == s:
                    total += current[k] * weights[k]
            # Signals that cancel, as in 0.3 - 0.1 - 0.2, leave rounding noise, which would be traded.
            total = np.round(total, 12)
            if total != wished[s]:
                wished[s] = total
                out[row].bar, out[row].symbol, out[row].target = bar, s, total
                row += 1
        i = stop
    return row


def slot_changes(
    topology: Topology, slot: StrategySlot, market: Market, symbol: int, containers: Containers
) -> tuple[Changes, Int64]:
    """Run a strategy over a symbol's bars in every container.

    Returns
    -------
    changes
        Of its target exposure, inside of each container's window.
    warm
        Per container: the symbol's first bar at which all of the strategy's features are defined.

    Raises
    ------
    StrategyError
        The strategy raised, or returned something else than one target exposure in [-1, 1] per bar.
    """
    run = _SlotRun(topology, slot, market, symbol, containers)
    changes = _driven(run) if is_compiled(slot.strategy.function) else None
    return changes or _called(run), _warm(run)


class _SlotRun:
    """A strategy in several containers: which features and parameters each of them gives it."""

    def __init__(
        self, topology: Topology, slot: StrategySlot, market: Market, symbol: int, containers: Containers
    ) -> None:
        self.slot = slot
        self.market = market
        self.symbol = symbol
        self.bars = market.panel.bars[symbol]
        self.containers = containers
        own = market.panel.own[symbol]
        self.first = np.maximum(_places(market, symbol, containers.first_bar), 0)
        self.stop = own[containers.stop_bar - 1] + np.int32(1)
        self.bounds = (slot.lowest, slot.highest)
        self.rows = {
            argument: np.array([market.rows[feature] for feature in features])[which]
            for argument, (features, which) in distinct_features(topology, slot, containers).items()
        }
        self.topology = topology

    def parameters(self, index: int) -> dict[str, Scalar]:
        """All parameters of one container."""
        return self.topology.resolve(self.slot, self.containers.row(index))

    def column(self, parameter: str) -> Column:
        """One parameter in all containers, of the type that its default has."""
        default = self.slot.parameters[parameter]
        varied = self.containers.parameters.get(f"{self.slot.name}.{parameter}")
        values: Column = np.array([default] * len(self.containers)) if varied is None else varied
        fractional = isinstance(self.slot.strategy.parameters[parameter], float)
        return values.astype(np.float64) if fractional and values.dtype.kind == "i" else values


def _places(market: Market, symbol: int, bars: Int32) -> Int32:
    """Find a symbol's first bar at or after each place on the timeline."""
    return np.searchsorted(market.panel.at[symbol], bars).astype(np.int32)


def _warm(run: _SlotRun) -> Int64:
    """Per container: the first bar at which all of the strategy's features are defined."""
    table = run.market.tables[run.symbol]
    defined = np.zeros(len(table), np.int64)
    warm = np.zeros(len(run.containers), np.int64)
    for rows in run.rows.values():
        for row in np.unique(rows):
            defined[row] = first_defined(table[row])
        warm = np.maximum(warm, defined[rows])
    return warm


def _driven(run: _SlotRun) -> Changes | None:
    """Run a compiled strategy without leaving compiled code; None where that is not possible."""
    from .machine_code import NumbaError

    strategy, count = run.slot.strategy, len(run.containers)
    own = [name for name in strategy.arguments if name not in run.rows and name not in SERIES]
    columns = [run.column(name) for name in own]
    if any(column.dtype.kind == "U" for column in columns):
        return None
    which = [np.ascontiguousarray(run.rows[name]) for name in strategy.arguments if name in run.rows]
    series = [getattr(run.bars, name) for name in strategy.arguments if name in SERIES]
    drive = _driver(strategy.function, strategy.arguments, tuple(strategy.features))
    ends = np.zeros(count, np.int64)
    room = max(count * len(run.bars) // ROOM, ROOM)
    bar, target = np.empty(room, np.int32), np.empty(room)
    start = 0
    while start < count:
        given = (*which, *series, *columns)
        try:
            done, wrong = drive(
                start,
                run.market.tables[run.symbol],
                run.first,
                run.stop,
                run.bounds,
                bar,
                target,
                ends,
                *given,
            )
        except NumbaError:
            # No loop can be compiled around this strategy.
            return None
        except Exception:
            # Where the strategy is at fault, calling it for each container says in which one, and why.
            _called(run)
            raise
        if wrong:
            return None
        if done < count:
            bar, target = np.resize(bar, 2 * bar.size), np.resize(target, 2 * target.size)
        start = done
    rows = int(ends[-1])
    return Changes(ends, bar[:rows], target[:rows], np.empty((0, len(PRICES))))


@cache
def _driver(
    strategy: Callable[..., Float64], arguments: tuple[str, ...], features: tuple[str, ...]
) -> Callable[..., tuple[int, bool]]:
    """Compile the loop over containers around a strategy.

    The loop returns how many containers are done (fewer than all where there was no more room) and whether
    the next one's targets are wrong.
    """
    rows = [name for name in arguments if name in features]
    series = [name for name in arguments if name in SERIES and name not in features]
    columns = [name for name in arguments if name not in features and name not in SERIES]
    call = [
        f"table[{name}_row[c]]" if name in features else name if name in SERIES else f"{name}_value[c]"
        for name in arguments
    ]
    given = [*(f"{name}_row" for name in rows), *series, *(f"{name}_value" for name in columns)]
    source = f"""
def drive(start, table, first, stop, bounds, bar, target, ends, {", ".join(given)}):
    row = ends[start - 1] if start > 0 else 0
    for c in range(start, ends.size):
        wished = strategy({", ".join(call)})
        if wished.ndim != 1 or wished.size != table.shape[1]:
            return c, True
        row, wrong = write_changes(wished, (first[c], stop[c]), bounds, bar, target, row)
        if wrong >= 0 or row < 0:
            return c, wrong >= 0
        ends[c] = row
    return ends.size, False
"""
    inside = strategy.__module__.startswith(__name__.rpartition(".")[0])
    source = f"# {strategy.__module__}.{strategy.__name__}{source}"
    names: dict[str, object] = {"strategy": strategy, "write_changes": write_changes}
    return compiled_from(source, "drive", names, keep=inside)


def _called(run: _SlotRun) -> Changes:
    """Run a strategy by calling it for each container."""
    count = len(run.containers)
    ends = np.zeros(count, np.int64)
    bars, targets, prices = [], [], []
    room = np.empty(len(run.bars), np.int32), np.empty(len(run.bars))
    for index in range(count):
        wished, price = strategy_targets(run.slot, run.parameters(index), run.market, run.symbol)
        window = int(run.first[index]), int(run.stop[index])
        rows, wrong = write_changes(wished, window, run.bounds, *room, 0)
        if wrong >= 0:
            raise StrategyError(
                f"strategy {run.slot.name!r}: a target exposure must lie in [-1, 1], "
                f"was {wished[wrong]} at bar {wrong} ({iso_time(run.bars.time[wrong])})."
            )
        bars.append(room[0][:rows].copy())
        targets.append(room[1][:rows].copy())
        prices.append(price[bars[-1]] if price.size else price)
        ends[index] = rows
    return Changes(np.cumsum(ends), np.concatenate(bars), np.concatenate(targets), np.concatenate(prices))


def strategy_targets(
    slot: StrategySlot, parameters: Mapping[str, Scalar], market: Market, symbol: int = 0
) -> tuple[Float64, Float64]:
    """Run a strategy over all bars of a symbol.

    Returns
    -------
    targets
        Target exposure after each bar, shape (n_bars,), NaN for "as before".
    prices
        Order prices after each bar in the columns of `PRICES`, shape (n_bars, 4), or (0, 4) where it states
        none.

    Raises
    ------
    StrategyError
        The function raised, or what it returned is not one exposure per bar.
    """
    bars = market.panel.bars[symbol]
    needs = slot.strategy.needs(parameters)
    arguments: dict[str, Float64 | Scalar] = {}
    for name in slot.strategy.arguments:
        if name in needs:
            arguments[name] = market.feature(needs[name], symbol)
        else:
            arguments[name] = getattr(bars, name) if name in SERIES else parameters[name]
    try:
        result = slot.strategy.function(**arguments)
    except Exception as error:
        raise StrategyError(
            f"strategy {slot.name!r} raised {type(error).__name__}: {error}; "
            f"its parameters were {dict(parameters)}."
        ) from error
    return checked_signals(slot.name, result, len(bars))
