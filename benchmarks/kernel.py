"""The bare kernel: the least that a sweep can cost, as a yardstick for the engine.

One rule, one symbol, a fixed quantity; one pass over the bars for each combination, which fills at the next
open, keeps the account, and measures total return, the ratio of mean and deviation of returns, drawdown and
trades. No log, no other orders, nothing to configure. ``threads`` share the combinations out.
"""

import math

import numpy as np
from numba import njit, prange, set_num_threads

from .peers.protocol import Bars, Outcome, Task, combinations, serve

EQUITY, RETURN, RATIO, DRAWDOWN, CLOSED, FILLS = range(6)


@njit(cache=True)
def averages(close: np.ndarray, windows: np.ndarray) -> np.ndarray:
    table = np.full((windows.size, close.size), np.nan)
    for row in range(windows.size):
        window, total = windows[row], 0.0
        for t in range(close.size):
            total += close[t]
            if t >= window:
                total -= close[t - window]
            if t >= window - 1:
                table[row, t] = total / window
    return table


@njit(cache=True)
def walk(
    prices: tuple[np.ndarray, np.ndarray],
    fast: np.ndarray,
    slow: np.ndarray,
    account: tuple[float, float, float],
    measured: np.ndarray,
    fills: np.ndarray,
) -> None:
    """Walk one combination; its fills are kept as rows of bar, quantity and price as far as there is room."""
    opens, closes = prices
    capital, units, fee = account
    cash, position, equity, peak, drawdown = capital, 0.0, capital, capital, 0.0
    total, squares = 0.0, 0.0
    count, closed, order = 0, 0, 0
    armed = False
    for t in range(closes.size):
        if order != 0:
            quantity = units if order > 0 else -position
            cash -= quantity * opens[t] + abs(quantity) * opens[t] * fee
            position += quantity
            if count < fills.shape[0]:
                fills[count, 0], fills[count, 1], fills[count, 2] = t, quantity, opens[t]
            count += 1
            closed += order < 0
            order = 0
        if fast[t] > slow[t]:
            if armed and position == 0.0:
                order = 1
        elif fast[t] < slow[t]:
            armed = True
            if position != 0.0:
                order = -1
        now = cash + position * closes[t]
        change = now / equity - 1.0
        equity = now
        total += change
        squares += change * change
        peak = max(peak, now)
        drawdown = min(drawdown, now / peak - 1.0)
    returns = closes.size - 1
    mean = total / returns
    variance = (squares - total * mean) / (returns - 1)
    measured[EQUITY], measured[RETURN] = equity, equity / capital - 1.0
    measured[RATIO] = mean / math.sqrt(variance) if variance > 0.0 else 0.0
    measured[DRAWDOWN], measured[CLOSED], measured[FILLS] = drawdown, closed, count


@njit(cache=True)
def sweep(
    prices: tuple[np.ndarray, np.ndarray],
    table: np.ndarray,
    rows: np.ndarray,
    account: tuple[float, float, float],
    measured: np.ndarray,
) -> None:
    nothing = np.empty((0, 3))
    for c in range(rows.shape[0]):
        walk(prices, table[rows[c, 0]], table[rows[c, 1]], account, measured[c], nothing)


@njit(cache=True, parallel=True)
def parallel_sweep(
    prices: tuple[np.ndarray, np.ndarray],
    table: np.ndarray,
    rows: np.ndarray,
    account: tuple[float, float, float],
    measured: np.ndarray,
) -> None:
    for c in prange(rows.shape[0]):
        walk(prices, table[rows[c, 0]], table[rows[c, 1]], account, measured[c], np.empty((0, 3)))


def run(task: Task, bars: Bars, keep: bool) -> np.ndarray:  # noqa: ARG001
    threads = int(task["options"].get("threads", "1"))
    pairs = np.array(combinations(task))
    windows = np.unique(pairs)
    table = averages(bars.close, windows)
    measured = np.empty((len(pairs), 6))
    rows, account = np.searchsorted(windows, pairs), (task["capital"], task["units"], task["fee"])
    if threads > 1:
        set_num_threads(threads)
        parallel_sweep((bars.open, bars.close), table, rows, account, measured)
    else:
        sweep((bars.open, bars.close), table, rows, account, measured)
    return measured


def outcome(task: Task, bars: Bars, made: object) -> Outcome:
    assert isinstance(made, np.ndarray)
    prices, account = (bars.open, bars.close), (task["capital"], task["units"], task["fee"])
    counts = made[:, FILLS].astype(np.int64)
    fills, start = np.empty((counts.sum(), 3)), 0
    pairs = np.array(combinations(task))
    windows = np.unique(pairs)
    table, rows = averages(bars.close, windows), np.searchsorted(windows, pairs)
    for (fast, slow), count in zip(rows, counts, strict=True):
        walk(prices, table[fast], table[slow], account, np.empty(6), fills[start : start + count])
        start += count
    return Outcome(
        made[:, EQUITY],
        made[:, CLOSED].astype(np.int64),
        np.repeat(np.arange(len(pairs), dtype=np.int32), counts),
        fills[:, 0].astype(np.int32),
        fills[:, 1],
        fills[:, 2],
    )


if __name__ == "__main__":
    serve(run, outcome, {"kernel": "bare"})
