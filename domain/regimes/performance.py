"""What trials came to in each regime, from their returns and entries.

A bar counts for the regime that was known before it: the last label at the close of the bar before. So does a
trade, by the bar of its entry.
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

from ..events import Float64, Int8, Int64


class RegimeSums(NamedTuple):
    """Of trials in each regime; all have the shape (n_trials, n_regimes).

    Attributes
    ----------
    total, squares
        Sums of returns, and of their squares.
    growth
        Product of one plus each return.
    trades
        Number of entries.
    """

    total: Float64
    squares: Float64
    growth: Float64
    trades: Int64


def known_before(labels: Int8, first: int) -> Int8:
    """Return the last label before each bar from ``first`` on; -1 where there is none."""
    return np.concatenate((np.full(1, -1, np.int8), labels[:-1]))[first:]


def regime_sums(returns: Float64, entries: tuple[Int64, Int64], known: Int8, regimes: int) -> RegimeSums:
    """Sum what happened in each regime.

    Parameters
    ----------
    returns
        Returns of each trial at each bar, shape (n_trials, n_bars).
    entries
        Row of the trial, and index of the bar, of each entry.
    known
        The regime of each bar, shape (n_bars,), -1 for none: such bars count for no regime.
    regimes
        How many there are.
    """
    parts = [np.compress(known == regime, returns, axis=1) for regime in range(regimes)]
    row, bar = entries
    trades = np.zeros((len(returns), regimes), np.int64)
    counts = known[bar] >= 0
    np.add.at(trades, (row[counts], known[bar][counts]), 1)
    return RegimeSums(
        np.stack([part.sum(axis=1) for part in parts], axis=1),
        np.stack([(part**2).sum(axis=1) for part in parts], axis=1),
        np.stack([(1.0 + part).prod(axis=1) for part in parts], axis=1),
        trades,
    )


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
