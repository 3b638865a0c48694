"""What trials came to in each regime, from their returns and entries.

A bar counts for the regime that was known before it: the last label at the close of the bar before. So does a
trade, by the bar of its entry.
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

from ..events import Bool, Float64, Int8, Int64


class RegimeSums(NamedTuple):
    """Of trials in each regime; all have the shape (n_trials, n_regimes).

    Attributes
    ----------
    total, squares
        Sums of returns, and of their squares.
    growth
        Product of one plus each return.
    drawdown
        Largest fraction lost since the highest point, along the bars of the regime alone.
    trades, closed, wins
        Number of entries, of those that were closed in the end, and of those that made a profit.
    """

    total: Float64
    squares: Float64
    growth: Float64
    drawdown: Float64
    trades: Int64
    closed: Int64
    wins: Int64


class Entries(NamedTuple):
    """Trades in columns, shape (n_trades,).

    ``row`` is the trial's, ``bar`` the index of the bar of the entry, ``profit`` NaN while a trade is open.
    """

    row: Int64
    bar: Int64
    profit: Float64


def known_before(labels: Int8, first: int) -> Int8:
    """Return the last label before each bar from ``first`` on; -1 where there is none."""
    return np.concatenate((np.full(1, -1, np.int8), labels[:-1]))[first:]


def regime_sums(returns: Float64, entries: Entries, known: Int8, regimes: int) -> RegimeSums:
    """Sum what happened in each regime.

    Parameters
    ----------
    returns
        Returns of each trial at each bar, shape (n_trials, n_bars).
    entries
        All trades of the trials.
    known
        The regime of each bar, shape (n_bars,), -1 for none: such bars count for no regime.
    regimes
        How many there are.
    """
    parts = [np.compress(known == regime, returns, axis=1) for regime in range(regimes)]
    counted = np.zeros((3, len(returns), regimes), np.int64)
    closed = np.isfinite(entries.profit)
    for numbers, chosen in zip(counted, (np.ones_like(closed), closed, entries.profit > 0.0), strict=True):
        _count(numbers, entries, known, chosen)
    return RegimeSums(
        np.stack([part.sum(axis=1) for part in parts], axis=1),
        np.stack([(part**2).sum(axis=1) for part in parts], axis=1),
        np.stack([(1.0 + part).prod(axis=1) for part in parts], axis=1),
        np.stack([_drawdown(part) for part in parts], axis=1),
        *counted,
    )


def _count(numbers: Int64, entries: Entries, known: Int8, chosen: Bool) -> None:
    """Add the chosen trades, by trial and regime."""
    regime = known[entries.bar]
    counts = chosen & (regime >= 0)
    np.add.at(numbers, (entries.row[counts], regime[counts]), 1)


def _drawdown(returns: Float64) -> Float64:
    """Return the largest fraction lost by each trial since its highest point, shape (n_trials,)."""
    worth = np.cumprod(np.concatenate((np.ones((len(returns), 1)), 1.0 + returns), axis=1), axis=1)
    worst: Float64 = (1.0 - worth / np.maximum.accumulate(worth, axis=1)).max(axis=1)
    return worst


def joined_sums(parts: Sequence[RegimeSums]) -> RegimeSums:
    """Put sums of trials one after the other."""
    return RegimeSums(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def sharpe_by_regime(sums: RegimeSums, bars: Int64, bars_per_year: float) -> Float64:
    """Return Sharpe ratios, shape (n_trials, n_regimes): per year, ddof 1, without a risk-free rate.

    NaN where a regime has fewer than two bars, or returns don't vary in it. ``bars`` is the number of bars of
    each regime.
    """
    count = np.maximum(bars, 2)
    mean = sums.total / count
    variance = (sums.squares - count * mean**2) / (count - 1)
    # Of returns that are all the same, rounding leaves a little.
    varies = (variance > 1e-12 * sums.squares / count) & (bars >= 2)
    return np.where(varies, mean / np.sqrt(np.where(varies, variance, 1.0)) * sqrt(bars_per_year), np.nan)
