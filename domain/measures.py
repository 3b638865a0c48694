"""Sums over a container's bars in one pass each, from which its metrics are finished.

Sums over bars run in lanes, which are added up at the end. A processor can then work on several bars at once,
while the order of additions, and with it every bit of a result, is the same on all processors.
"""

import math
from typing import NamedTuple

import numpy as np

from .bars import DAY
from .compiled import compiled_lean
from .events import Float64, Int64

LANES, SUMS, WIDE = 32, 12, 64

NOISE = 1e-24
"""A mean square deviation of returns up to this is rounding error of the equity, and counts as zero."""


class Scratch(NamedTuple):
    """What `bar_returns` and `drawdowns` may write to; make it with `scratch_for`."""

    curves: Float64
    lanes: Float64


def scratch_for(bars: int) -> Scratch:
    """Make scratch for curves of as many bars as there may be at most."""
    return Scratch(np.empty((2, bars)), np.empty((LANES + 1) * SUMS))


class BarReturns(NamedTuple):
    """The simple returns r of an equity curve, and m of the market, bar by bar.

    Attributes
    ----------
    bars
        Number of bars, n.
    mean, market_mean
        Of r and of m.
    squares, cubes, fourths
        Sums of (r - mean)^2, ^3 and ^4; zero where they are rounding noise (see `NOISE`).
    loss, loss_squares
        Sums of min(r, 0) and of its square.
    best, worst
        Highest and lowest r.
    market_squares, product
        Sums of (m - market_mean)^2 and of (r - mean) (m - market_mean).
    equity
        Mean equity.
    """

    bars: int
    mean: float
    squares: float
    cubes: float
    fourths: float
    loss: float
    loss_squares: float
    best: float
    worst: float
    market_mean: float
    market_squares: float
    product: float
    equity: float


class Drawdowns(NamedTuple):
    """What an equity curve spent below its running peak.

    Attributes
    ----------
    peak
        The highest equity, the starting peak included.
    deepest, depths
        Greatest depth, and sum over drawdowns of the depth of each, as a fraction of its peak.
    longest, lengths
        The same of their lengths from the peak to the recovery or the last bar, in nanoseconds.
    episodes
        Number of drawdowns of two bars or more; one that begins at the last bar is none.
    squares
        Sum over bars of the squared depth.
    under_water
        Number of bars below the peak.
    lowest
        The lowest equity.
    """

    peak: float
    deepest: float
    depths: float
    longest: int
    lengths: int
    episodes: int
    squares: float
    under_water: int
    lowest: float


class DailyReturns(NamedTuple):
    """Returns between the last equities of UTC days.

    Attributes
    ----------
    growth
        One plus their geometric mean; 0 if the first or the last equity is zero or less, NaN without returns.
    variance
        Their sample variance; NaN for fewer than two.
    downside
        Square root of the mean of min(r, 0)^2; NaN without returns.
    """

    growth: float
    variance: float
    downside: float


@compiled_lean
def _step(e0: float, e1: float, c0: float, c1: float) -> tuple[float, float]:
    """Return r and m of one bar; from exact differences, so that what does not change returns exactly 0."""
    inverse = 1.0 / (e0 * c0)
    return (e1 - e0) * (c0 * inverse), (c1 - c0) * (e0 * inverse)


@compiled_lean
def _lane_sums(
    before: Float64, after: Float64, close: Float64, shift: float, lanes: Float64, sums: Float64
) -> None:
    """Add the returns from ``before`` to ``after`` to twelve sums, of which two are a maximum and a minimum.

    Their number is even; each block adds its first half to its second half, and that to the lanes.
    """
    for i in range(SUMS):
        for j in range(LANES):
            lanes[i * LANES + j] = 0.0 if i < 10 else sums[i]
    for start in range(0, before.size, 2 * LANES):
        half = min(LANES, (before.size - start) // 2)
        middle = start + half
        stop = middle + half
        e0, e1, c0, c1 = before[start:], after[start:], close[start:], close[start + 1 :]
        f0, f1, d0, d1 = before[middle:stop], after[middle:stop], close[middle:stop], close[middle + 1 :]
        for j in range(half):
            r, m = _step(e0[j], e1[j], c0[j], c1[j])
            s, k = _step(f0[j], f1[j], d0[j], d1[j])
            x, y = r - shift, s - shift
            x2, y2 = x * x, y * y
            r_loss, s_loss = min(r, 0.0), min(s, 0.0)
            lanes[j] += x + y
            lanes[LANES + j] += x2 + y2
            lanes[2 * LANES + j] += x2 * x + y2 * y
            lanes[3 * LANES + j] += x2 * x2 + y2 * y2
            lanes[4 * LANES + j] += r_loss + s_loss
            lanes[5 * LANES + j] += r_loss * r_loss + s_loss * s_loss
            lanes[6 * LANES + j] += m + k
            lanes[7 * LANES + j] += m * m + k * k
            lanes[8 * LANES + j] += x * m + y * k
            lanes[9 * LANES + j] += e1[j] + f1[j]
            lanes[10 * LANES + j] = max(lanes[10 * LANES + j], max(r, s))
            lanes[11 * LANES + j] = min(lanes[11 * LANES + j], min(r, s))
    for i in range(10):
        for j in range(LANES):
            sums[i] += lanes[i * LANES + j]
    for j in range(LANES):
        sums[10] = max(sums[10], lanes[10 * LANES + j])
        sums[11] = min(sums[11], lanes[11 * LANES + j])


@compiled_lean
def _forget_ruin(equity: Float64, before: Float64, after: Float64) -> float:
    """Write equities before and after each bar so that a return from zero or less becomes 0.

    Returns by how much that lowers the sum of those after.
    """
    lower = 0.0
    for t in range(before.size):
        before[t], after[t] = equity[t], equity[t + 1]
        if before[t] <= 0.0:
            lower += after[t] - 1.0
            before[t] = after[t] = 1.0
    return lower


@compiled_lean
def bar_returns(
    capital: float, equity: Float64, close: Float64, lowest: float, scratch: Scratch
) -> BarReturns:
    """Sum up the returns of all bars.

    The first r is taken from ``capital`` to the first equity, the first m is 0. Once the equity has fallen to
    zero or below, r is 0. ``equity`` and ``close`` have shape (n_bars,), n_bars at least 1; ``capital`` is
    above zero, ``lowest`` is the lowest equity.
    """
    n = equity.size
    growth = equity[n - 1] / capital
    # Powers of the distance from a value close to the mean lose no digits when the mean is taken off.
    shift = math.expm1(math.log(growth) / n) if growth > 0.0 else 0.0
    sums = scratch.lanes[LANES * SUMS :]
    for i in range(10):
        sums[i] = 0.0
    sums[10], sums[11] = -np.inf, np.inf
    singles = 2 - n % 2
    for t in range(singles):
        e0, c0 = (equity[t - 1], close[t - 1]) if t > 0 else (capital, close[0])
        r, m = _step(e0, equity[t], c0, close[t]) if e0 > 0.0 else _step(1.0, 1.0, c0, close[t])
        x, loss = r - shift, min(r, 0.0)
        powers = (x, x * x, x * x * x, x * x * x * x, loss, loss * loss, m, m * m, x * m, equity[t])
        for i in range(10):
            sums[i] += powers[i]
        sums[10], sums[11] = max(sums[10], r), min(sums[11], r)
    before, after = equity[singles - 1 : n - 1], equity[singles:]
    if lowest <= 0.0:
        before, after = scratch.curves[0, : n - singles], scratch.curves[1, : n - singles]
        sums[9] += _forget_ruin(equity[singles - 1 :], before, after)
    _lane_sums(before, after, close[singles - 1 :], shift, scratch.lanes, sums)
    off, market = sums[0] / n, sums[6] / n
    squares = sums[1] - n * off * off
    cubes = sums[2] - 3.0 * off * sums[1] + 2.0 * n * off * off * off
    fourths = sums[3] - 4.0 * off * sums[2] + 6.0 * off * off * sums[1] - 3.0 * n * off * off * off * off
    if squares <= NOISE * n:
        squares = cubes = fourths = 0.0
    market_squares = sums[7] - n * market * market
    product = sums[8] - sums[0] * market
    return BarReturns(
        n, shift + off, squares, cubes, fourths, sums[4], sums[5], sums[10], sums[11],
        market, market_squares, product, sums[9] / n,
    )  # fmt: skip


@compiled_lean
def _valley(equity: Float64, peak: float, t: int, lanes: Float64) -> tuple[int, float, float]:
    """Follow a drawdown from the bar ``t`` on to the first bar that reaches its peak again.

    Returns that bar, or the number of bars; the lowest equity before it, and the sum of squared depths.
    """
    squares, lows = lanes[:WIDE], lanes[WIDE : 2 * WIDE]
    low, total, begin = np.inf, 0.0, t
    while t + WIDE <= equity.size:
        these = equity[t : t + WIDE]
        reached = 0
        for i in range(WIDE):
            reached |= int(not these[i] < peak)
        if reached != 0:
            break
        if t == begin:
            for i in range(WIDE):
                squares[i], lows[i] = 0.0, np.inf
        for i in range(WIDE):
            depth = peak - these[i]
            squares[i] += depth * depth
            lows[i] = min(lows[i], these[i])
        t += WIDE
    if t > begin:
        for i in range(WIDE):
            total += squares[i]
            low = min(low, lows[i])
    while t < equity.size and equity[t] < peak:
        total += (peak - equity[t]) * (peak - equity[t])
        low = min(low, equity[t])
        t += 1
    return t, low, total


@compiled_lean
def drawdowns(peak: float, equity: Float64, time: Int64, lanes: Float64) -> Drawdowns:
    """Sum up the drawdowns of an equity curve, ``peak`` being its first peak.

    ``equity`` and ``time`` have shape (n_bars,). A drawdown lasts from the bar of its peak, or the first bar,
    to the bar that reaches this peak again, or to the last bar. ``lanes`` is scratch.
    """
    n = equity.size
    deepest = depths = squares = 0.0
    longest = lengths = episodes = under_water = since = t = 0
    bottom = equity[0]
    while t < n:
        if not equity[t] < peak:
            peak, since = max(peak, equity[t]), t
            t += 1
            continue
        stop, trough, total = _valley(equity, peak, t, lanes)
        under_water += stop - t
        depth = (peak - trough) / peak
        deepest = max(deepest, depth)
        squares += total / (peak * peak)
        bottom = min(bottom, trough)
        last = min(stop, n - 1)
        if last > since + 1:
            length = time[last] - time[since]
            longest, lengths = max(longest, length), lengths + length
            depths += depth
            episodes += 1
        t = stop
    return Drawdowns(peak, deepest, depths, longest, lengths, episodes, squares, under_water, bottom)


@compiled_lean
def daily_returns(time: Int64, equity: Float64) -> DailyReturns:
    """Sum up the returns from day to day; ``time`` and ``equity`` have shape (n_bars,)."""
    n = equity.size
    count = -1
    first = before = last = 0.0
    total = squares = downside = 0.0
    midnight = time[0] // DAY * DAY + DAY
    for t in range(n):
        if t + 1 < n:
            if time[t + 1] < midnight:
                continue
            midnight = time[t + 1] // DAY * DAY + DAY
        last = equity[t]
        if count < 0:
            first = last
        else:
            r = last / before - 1.0 if before > 0.0 else 0.0
            total += r
            squares += r * r
            downside += min(r, 0.0) ** 2
        before = last
        count += 1
    if count == 0:
        return DailyReturns(np.nan, np.nan, np.nan)
    growth = (last / first) ** (1.0 / count) if first > 0.0 and last > 0.0 else 0.0
    spread = squares - total * total / count
    spread = spread if spread > NOISE * count else 0.0
    variance = spread / (count - 1) if count > 1 else np.nan
    return DailyReturns(growth, variance, math.sqrt(downside / count))


@compiled_lean
def log_beta(equity: Float64, close: Float64) -> float:
    """Covariance of the log returns of equity and close by the variance of the latter; NaN if that is zero.

    Steps from or to an equity of zero or less are left out of the sums.
    """
    total = market = market_squares = product = 0.0
    steps = max(equity.size - 1, 1)
    for t in range(equity.size - 1):
        if equity[t] > 0.0 and equity[t + 1] > 0.0:
            m = math.log(close[t + 1] / close[t])
            market += m
            market_squares += m * m
            if equity[t + 1] != equity[t]:
                r = math.log(equity[t + 1] / equity[t])
                total += r
                product += r * m
    spread = market_squares - market * market / steps
    return (product - total * market / steps) / spread if spread > NOISE * steps else np.nan
