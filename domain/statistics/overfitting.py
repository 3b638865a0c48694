"""The probability of backtest overfitting, by combinatorially symmetric cross-validation.

Bailey, Borwein, Lopez de Prado and Zhu (2017), The probability of backtest overfitting, Journal of
Computational Finance 20(4). Blocks of bars are kept as sums, so that many trials need little memory.
"""

from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np

from ..errors import ConfigurationError
from ..events import Float64, Int64

CHUNK = 2_000_000
"""Ratios that are computed at once."""


class BlockSums(NamedTuple):
    """Returns of trials in blocks: their ``bars``, shape (n_blocks,); sums, shape (n_trials, n_blocks)."""

    bars: Int64
    total: Float64
    squares: Float64


class Overfitting(NamedTuple):
    """What came of choosing in half of the blocks, and looking at the other half.

    Attributes
    ----------
    probability
        Part of the splits in which the trial that was best in sample was not above the median out of sample.
    loss
        Part of the splits in which it lost out of sample.
    logits
        Logit of its relative rank out of sample, in every split, shape (n_splits,).
    """

    probability: float
    loss: float
    logits: Float64


def block_sums(returns: Float64, blocks: int) -> BlockSums:
    """Sum ``returns``, shape (n_trials, n_bars), over blocks of bars whose sizes differ by at most one.

    Raises
    ------
    ConfigurationError
        The number of blocks is odd or less than 2, or there are fewer than two bars for each.
    """
    bars = returns.shape[1]
    if blocks < 2 or blocks % 2 or bars < 2 * blocks:
        raise ConfigurationError(
            f"blocks: must be an even number, each with at least 2 of the {bars} bars; was {blocks}."
        )
    edges = np.linspace(0, bars, blocks + 1).astype(np.int64)
    return BlockSums(
        np.diff(edges),
        np.add.reduceat(returns, edges[:-1], axis=1),
        np.add.reduceat(returns**2, edges[:-1], axis=1),
    )


def overfitting(sums: BlockSums) -> Overfitting:
    """Choose by Sharpe ratio in every half of the blocks, and rank the choice in the other half.

    The choice is the first one of those that are best in sample; where ratios are equal out of sample it has
    their middle rank. A trial that never varies has a ratio of zero.

    Raises
    ------
    ConfigurationError
        There are fewer than two trials.
    """
    trials, blocks = sums.total.shape
    if trials < 2:
        raise ConfigurationError("overfitting is a matter of choice, which takes at least 2 trials; found 1.")
    halves = np.zeros((comb(blocks, blocks // 2), blocks))
    for row, chosen in enumerate(combinations(range(blocks), blocks // 2)):
        halves[row, list(chosen)] = 1.0
    logits, ends = np.empty(len(halves)), np.empty(len(halves))
    step = max(1, CHUNK // trials)
    for start in range(0, len(halves), step):
        inside = halves[start : start + step]
        best = np.argmax(_ratios(sums, inside), axis=1)
        outside = _ratios(sums, 1.0 - inside)
        found = outside[np.arange(len(inside)), best][:, np.newaxis]
        below, equal = (outside < found).sum(axis=1), (outside == found).sum(axis=1)
        rank = (below + (equal + 1) / 2.0) / (trials + 1)
        logits[start : start + step] = np.log(rank / (1.0 - rank))
        ends[start : start + step] = found[:, 0]
    return Overfitting(float(np.mean(logits <= 0.0)), float(np.mean(ends < 0.0)), logits)


def _ratios(sums: BlockSums, chosen: Float64) -> Float64:
    """Return the Sharpe ratios of all trials over the chosen blocks, shape (n_splits, n_trials)."""
    count = (chosen @ sums.bars)[:, np.newaxis]
    mean = chosen @ sums.total.T / count
    variance = np.maximum(chosen @ sums.squares.T / count - mean**2, 0.0)
    spread = np.sqrt(variance)
    varies = spread > 1e-12 * np.abs(mean)
    ratios: Float64 = np.where(varies, mean / np.where(varies, spread, 1.0), 0.0)
    return ratios
