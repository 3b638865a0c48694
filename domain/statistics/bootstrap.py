"""Confidence intervals of statistics of returns that depend on each other, by resampling blocks of bars."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np

from ..errors import ConfigurationError, UnknownNameError
from ..events import Float64, Int64

Blocks = Literal["stationary", "circular"]
Statistic = Callable[[Float64], Float64]
"""Maps samples of returns, shape (n_samples, n_bars), to a value for each of them."""
CHUNK = 1_000_000
"""Returns that are resampled at once."""


class Interval(NamedTuple):
    """A statistic of the returns as they were, and where it lies in a part ``level`` of the resamples."""

    value: float
    low: float
    high: float
    level: float


def sharpe_ratios(samples: Float64) -> Float64:
    """Return the Sharpe ratio per bar of each sample, shape (n_samples,); 0 for one that never varies."""
    spread = samples.std(axis=1, ddof=1)
    varies = spread > 0.0
    ratios: Float64 = np.where(varies, samples.mean(axis=1) / np.where(varies, spread, 1.0), 0.0)
    return ratios


def total_returns(samples: Float64) -> Float64:
    """Return the compounded return of each sample, shape (n_samples,), as a fraction."""
    totals: Float64 = np.prod(1.0 + samples, axis=1) - 1.0
    return totals


def max_drawdowns(samples: Float64) -> Float64:
    """Return the deepest drawdown of each sample, shape (n_samples,), as a positive fraction."""
    equity = np.cumprod(np.concatenate([np.ones((len(samples), 1)), 1.0 + samples], axis=1), axis=1)
    depths: Float64 = (1.0 - equity / np.maximum.accumulate(equity, axis=1)).max(axis=1)
    return depths


def resampled_bars(
    chance: np.random.Generator,
    samples: int,
    bars: int,
    block: float,
    blocks: Blocks = "stationary",
    length: int | None = None,
) -> Int64:
    """Draw samples of bars in blocks of consecutive ones, shape (samples, length).

    The first bar follows the last.

    Parameters
    ----------
    chance
        Draws the blocks.
    samples, bars
        How many samples, and of how many bars they are drawn.
    block
        Number of bars of a block: the mean of a geometric distribution with ``stationary`` blocks (Politis
        and Romano 1994), the fixed size of ``circular`` ones (Politis and Romano 1992).
    blocks
        Which of the two.
    length
        Number of bars of a sample; by default it is that of the bars.
    """
    length = bars if length is None else length
    if blocks == "stationary":
        begins = chance.random((samples, length)) < 1.0 / block
        begins[:, 0] = True
    else:
        begins = np.broadcast_to(np.arange(length) % int(block) == 0, (samples, length))
    starts = chance.integers(0, bars, (samples, length))
    place = np.maximum.accumulate(np.where(begins, np.arange(length), 0), axis=1)
    drawn: Int64 = (np.take_along_axis(starts, place, axis=1) + np.arange(length) - place) % bars
    return drawn


def bootstrap_interval(
    returns: Float64,
    statistic: Statistic = sharpe_ratios,
    *,
    seed: int,
    level: float = 0.95,
    samples: int = 2000,
    block: float | None = None,
    blocks: Blocks = "stationary",
) -> Interval:
    """Return a percentile interval of a statistic.

    Parameters
    ----------
    returns
        Shape (n_bars,).
    statistic
        What is measured.
    seed
        Decides what is drawn.
    level
        Part of the resamples inside of the interval, the rest lying on both sides alike.
    samples
        Number of resamples.
    block
        Number of bars of a block; by default the cube root of the number of bars, by whose order it should
        grow (Politis and White 2004).
    blocks
        How blocks are drawn; see `resampled_bars`.

    Raises
    ------
    ConfigurationError
        There are fewer than 2 bars, or the level, the number of samples or the block is out of range.
    """
    bars = returns.size
    block = float(round(bars ** (1 / 3))) if block is None else block
    if blocks not in get_args(Blocks):
        raise UnknownNameError("kind of blocks", blocks, get_args(Blocks))
    if bars < 2 or not 0.0 < level < 1.0 or samples < 1 or not 1.0 <= block <= bars:
        raise ConfigurationError(
            f"a bootstrap needs at least 2 bars, a level between 0 and 1, a sample, and blocks of 1 to all "
            f"bars; found {bars} bars, level {level}, {samples} samples, blocks of {block:g}."
        )
    chance = np.random.default_rng(seed)
    step = max(1, CHUNK // bars)
    values = [
        statistic(returns[resampled_bars(chance, min(step, samples - start), bars, block, blocks)])
        for start in range(0, samples, step)
    ]
    low, high = np.quantile(np.concatenate(values), [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(statistic(returns[np.newaxis])[0]), float(low), float(high), level)
