"""Counts and sums over a container's closed trades, and over its rising and falling bars."""

import math
from typing import NamedTuple

import numpy as np

from .compiled import compiled_lean
from .events import Float64, Int64
from .portfolio import Trades


class TradeTally(NamedTuple):
    """Sums over closed trades: p is profit net of fees, q the same as a fraction of the value at entry.

    Attributes
    ----------
    closed, long, wins, losses
        Numbers of trades: all, those that were long, with p > 0, and with p < 0.
    profit, squares
        Sums of p and of p^2.
    gains, pains
        Sums of p > 0, and of -p > 0.
    returns, gain_returns, pain_returns
        The same sums of q.
    best, worst
        Of q.
    longest, lengths
        Greatest and total time from entry to exit, in nanoseconds.
    winning, losing
        The longest runs of wins and of losses in a row.
    """

    closed: int
    long: int
    wins: int
    losses: int
    profit: float
    squares: float
    gains: float
    pains: float
    returns: float
    gain_returns: float
    pain_returns: float
    best: float
    worst: float
    longest: int
    lengths: int
    winning: int
    losing: int


class BarTally(NamedTuple):
    """Bars with gains and with losses, and the longest runs of each."""

    up: int
    down: int
    winning: int
    losing: int


@compiled_lean
def tally(trades: Trades, count: int, fill_bar: Int64, time: Int64) -> TradeTally:
    """Sum up the closed trades among the first ``count``; ``fill_bar`` holds the bar of each fill."""
    closed = long = wins = losses = longest = lengths = 0
    winning = losing = wins_on = losses_on = 0
    profit = squares = gains = pains = returns = gain_returns = pain_returns = 0.0
    best, worst = -np.inf, np.inf
    for i in range(count):
        if trades.exit_fill[i] < 0:
            continue
        closed += 1
        long += trades.side[i] > 0
        p = trades.pnl[i]
        q = p / (trades.quantity[i] * trades.entry_price[i])
        profit += p
        squares += p * p
        returns += q
        best, worst = max(best, q), min(worst, q)
        if p > 0.0:
            wins += 1
            gains += p
            gain_returns += q
            wins_on, losses_on = wins_on + 1, 0
            winning = max(winning, wins_on)
        elif p < 0.0:
            losses += 1
            pains -= p
            pain_returns -= q
            wins_on, losses_on = 0, losses_on + 1
            losing = max(losing, losses_on)
        else:
            wins_on = losses_on = 0
        length = time[fill_bar[trades.exit_fill[i]]] - time[fill_bar[trades.entry_fill[i]]]
        longest = max(longest, length)
        lengths += length
    return TradeTally(
        closed, long, wins, losses, profit, squares, gains, pains, returns, gain_returns, pain_returns,
        best, worst, longest, lengths, winning, losing,
    )  # fmt: skip


@compiled_lean
def bar_tally(capital: float, equity: Float64) -> BarTally:
    """Count the bars at which an equity above zero rose and fell; ``equity`` has shape (n_bars,)."""
    up = down = winning = losing = ups_on = downs_on = 0
    before = capital
    for t in range(equity.size):
        rose, fell = equity[t] > before > 0.0, before > 0.0 and equity[t] < before
        ups_on = ups_on + 1 if rose else 0
        downs_on = downs_on + 1 if fell else 0
        up, down = up + rose, down + fell
        winning, losing = max(winning, ups_on), max(losing, downs_on)
        before = equity[t]
    return BarTally(up, down, winning, losing)


@compiled_lean
def bars_in_trades(trades: Trades, count: int, fill_bar: Int64, n: int) -> int:
    """Bars from each trade's entry to its exit or the last of ``n`` bars, both included, each bar once."""
    covered = 0
    upto = -1
    for i in range(count):
        start = max(fill_bar[trades.entry_fill[i]], upto + 1)
        end = n - 1 if trades.exit_fill[i] < 0 else fill_bar[trades.exit_fill[i]]
        covered += max(end - start + 1, 0)
        upto = max(upto, end)
    return covered


@compiled_lean
def geometric_mean_of_trades(trades: Trades, count: int) -> float:
    """Geometric mean of 1 + q, less one, over closed trades; -1 if one of them lost all, or more."""
    logs = 0.0
    closed = 0
    for i in range(count):
        if trades.exit_fill[i] >= 0:
            q = trades.pnl[i] / (trades.quantity[i] * trades.entry_price[i])
            logs += math.log(1.0 + q) if q > -1.0 else -np.inf
            closed += 1
    return math.exp(logs / closed) - 1.0 if closed > 0 else np.nan
