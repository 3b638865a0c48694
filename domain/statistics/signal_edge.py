"""Whether signals tell where prices go: what a symbol returned after them, against its drift."""

from math import sqrt
from typing import NamedTuple

import numpy as np

from ..events import Bool, Float64, Int64

APART = np.int64(1) << 32
"""What is between the bars of two symbols, so that none of their signals overlap."""


class Views(NamedTuple):
    """Signals that take a side, of one strategy in one or more symbols, with what they were right about.

    Attributes
    ----------
    bar
        At whose close each one was emitted, in ascending order; see `APART`; shape (n_signals,).
    ahead
        Return from that close to a later one, times the side; NaN where there is none; shape (n_signals,).
    drift
        The mean return of all bars over as many bars, times the side; shape (n_signals,).
    """

    bar: Int64
    ahead: Float64
    drift: Float64

    def at(self, rows: Bool) -> "Views":
        """Return some of the signals."""
        return Views(self.bar[rows], self.ahead[rows], self.drift[rows])


class Edge(NamedTuple):
    """What came of signals after some bars.

    Attributes
    ----------
    measured
        Number of signals with so many bars after them.
    mean_return
        Mean return in the direction of the signal.
    excess_return
        The same above the drift, by which every signal in its direction would gain.
    t_statistic
        Mean by standard error of the excess; signals whose bars overlap count as dependent on each other.
    hit_rate
        Part of the signals with a return above zero.
    """

    measured: float
    mean_return: float
    excess_return: float
    t_statistic: float
    hit_rate: float


def forward_returns(close: Float64, horizon: int) -> Float64:
    """Return what each close was followed by ``horizon`` bars later, shape (n_bars,); NaN at the end."""
    ahead = np.full(close.size, np.nan)
    if close.size > horizon:
        ahead[:-horizon] = close[horizon:] / close[:-horizon] - 1.0
    return ahead


def edge_of(views: Views, horizon: int) -> Edge:
    """Measure signals ``horizon`` bars later; NaN where there are none, or for a t-statistic too few.

    The standard error is that of Newey and West (1987), with weights that fall linearly to zero for signals
    that are ``horizon`` bars apart.
    """
    views = views.at(np.isfinite(views.ahead))
    n = views.bar.size
    if n == 0:
        return Edge(0.0, *[np.nan] * 4)
    excess = views.ahead - views.drift
    mean = float(excess.mean())
    rest = excess - mean
    variance, lag = float(rest @ rest), 1
    while lag < n:
        apart = views.bar[lag:] - views.bar[:-lag]
        if not (apart < horizon).any():
            break
        variance += 2.0 * float(np.maximum(1.0 - apart / horizon, 0.0) @ (rest[lag:] * rest[:-lag]))
        lag += 1
    error = sqrt(variance / (n - 1) / n) if n > 1 and variance > 0.0 else 0.0
    t_statistic = mean / error if error > 0.0 else np.nan
    return Edge(float(n), float(views.ahead.mean()), mean, t_statistic, float(np.mean(views.ahead > 0.0)))


def rank_correlation(one: Float64, other: Float64) -> float:
    """Return Spearman's correlation of two columns, where both are known; NaN where one does not vary.

    With exposures and the returns after them it is known as the information coefficient.
    """
    known = np.isfinite(one) & np.isfinite(other)
    first, second = _ranks(one[known]), _ranks(other[known])
    if first.size < 2 or np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Float64) -> Float64:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: Float64 = (last - (count - 1) / 2.0)[place]
    return ranks
