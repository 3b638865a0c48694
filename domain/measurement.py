"""From the fills of a container to its metrics.

The simulation and the audit of its log both measure here: metrics follow from bars and fills alone.
"""

from typing import NamedTuple

import numpy as np

from .compiled import compiled
from .events import Float64, Int32, Int64
from .metrics import Curve, measure
from .portfolio import Trades, round_trips, settle


class Prices(NamedTuple):
    """Time, open and close of each bar, shape (n_bars,)."""

    time: Int64
    open: Float64
    close: Float64


class Fills(NamedTuple):
    """Fills in order, shape (n_fills,); those of one container, or of several one after the other."""

    bar: Int32
    quantity: Float64
    price: Float64
    fee: Float64


class Spans(NamedTuple):
    """Per container: its first bar, the bar after its last, and the first with all features."""

    first: Int32
    stop: Int32
    warm: Int64


@compiled
def mark_to_market(prices: Prices, first: int, fills: Fills, capital: float, equity: Float64) -> int:
    """Write the equity at each close from the bar ``first`` on, as far as ``equity`` reaches.

    ``capital`` is the cash before the first fill. Returns the number of bars that closed with a position.
    """
    cash, position = capital, 0.0
    fill = held = 0
    for t in range(equity.size):
        while fill < fills.bar.size and fills.bar[fill] == first + t:
            cash = cash - fills.quantity[fill] * fills.price[fill] - fills.fee[fill]
            position += fills.quantity[fill]
            fill += 1
        equity[t] = cash + position * prices.close[first + t]
        held += position != 0.0
    return held


@compiled
def measure_container(
    prices: Prices,
    span: tuple[int, int, int],
    fills: Fills,
    capital: float,
    profile: tuple[int, float],
    out: Float64,
) -> None:
    """Write the metrics of one container.

    Parameters
    ----------
    prices
        The bars.
    span
        The container's first bar, the bar after its last, and the first with all features.
    fills
        Its fills, all of them inside of these bars and in their order.
    capital
        Its cash before the first fill.
    profile
        The metric profile and the number of bars per year.
    out
        Written: shape (n_metrics,).
    """
    first, stop, warm = span
    equity = np.empty(stop - first)
    held = mark_to_market(prices, first, fills, capital, equity)
    size = fills.quantity.size
    position, cash = np.empty(size), np.empty(size)
    settle(fills.quantity, fills.price, fills.fee, capital, position, cash)
    columns = np.empty((5, size + 1))
    trades = Trades(
        np.empty(size + 1, np.int64),
        np.empty(size + 1, np.int64),
        np.empty(size + 1, np.int8),
        columns[0],
        columns[1],
        columns[2],
        columns[3],
        columns[4],
    )
    number = round_trips(fills.quantity, fills.price, fills.fee, position, prices.close[stop - 1], trades)
    traded = fees = 0.0
    for i in range(size):
        traded += abs(fills.quantity[i]) * fills.price[i]
        fees += fills.fee[i]
    curve = Curve(
        prices.time[first:stop],
        prices.close[first:stop],
        equity,
        capital,
        held,
        traded,
        fees,
        max(warm - first, 0),
    )
    measure(profile[0], profile[1], curve, trades, number, fills.bar.astype(np.int64) - first, out)


@compiled
def measure_containers(
    prices: Prices,
    spans: Spans,
    starts: Int64,
    fills: Fills,
    capital: float,
    profile: tuple[int, float],
    metrics: Float64,
) -> None:
    """`measure_container` for several containers whose fills lie one after the other.

    Container ``i`` has the fills ``starts[i]`` to ``starts[i + 1]`` (excluded); ``metrics``, of shape
    (n_containers, n_metrics), is written.
    """
    for c in range(starts.size - 1):
        rows = slice(starts[c], starts[c + 1])
        own = Fills(fills.bar[rows], fills.quantity[rows], fills.price[rows], fills.fee[rows])
        span = (spans.first[c], spans.stop[c], spans.warm[c])
        measure_container(prices, span, own, capital, profile, metrics[c])
