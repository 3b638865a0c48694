"""What a time like the one behind us may bring, by drawing its returns anew."""

from typing import NamedTuple

import numpy as np

from ..events import Float64
from .bootstrap import CHUNK, max_drawdowns, resampled_bars


class Outlook(NamedTuple):
    """What came of each sample, shape (n_samples,).

    Attributes
    ----------
    drawdown
        Its deepest drawdown, as a positive fraction.
    lowest
        Its lowest value as a part of what it began with; at most 1.
    final
        Its return from begin to end.
    """

    drawdown: Float64
    lowest: Float64
    final: Float64


def resampled_outlook(
    returns: Float64, length: int, *, seed: int, samples: int, block: float | None = None
) -> Outlook:
    """Draw periods of ``length`` from ``returns``, shape (n,), in blocks that keep what depends on what.

    A stationary bootstrap, see `resampled_bars`; the mean length of a block is the cube root of n by default.
    Seed and arguments decide what is drawn.
    """
    chance, n = np.random.default_rng(seed), returns.size
    size = float(round(n ** (1 / 3))) if block is None else block
    step = max(1, CHUNK // length)
    parts = [
        _outlook(returns[resampled_bars(chance, min(step, samples - start), n, size, length=length)])
        for start in range(0, samples, step)
    ]
    return Outlook(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def reshuffled_outlook(returns: Float64, length: int, *, seed: int, samples: int) -> Outlook:
    """Take ``length`` of ``returns``, shape (n,) and at least as long, in an order left to chance.

    None is taken twice in a sample.
    """
    chance = np.random.default_rng(seed)
    step = max(1, CHUNK // returns.size)
    parts = []
    for start in range(0, samples, step):
        count = min(step, samples - start)
        parts.append(_outlook(chance.permuted(np.tile(returns, (count, 1)), axis=1)[:, :length]))
    return Outlook(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _outlook(samples: Float64) -> Outlook:
    # What lost everything stays at nothing.
    kept = np.maximum(samples, -1.0)
    value = np.asarray(np.cumprod(1.0 + kept, axis=1), np.float64)
    return Outlook(max_drawdowns(kept), np.minimum(value.min(axis=1), 1.0), np.asarray(value[:, -1] - 1.0))
