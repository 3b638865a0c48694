"""How classifications of the same bars differ, and what they tell apart.

Labels are numbers of regimes from 0, -1 where a regime is unknown; such bars count for nothing.
"""

import numpy as np

from ..events import Float64, Int8

SHIFTS = 999
"""Shifts of a classification against which its separation is held, at most."""


def mean_duration(labels: Int8, regime: int) -> float:
    """Return the mean number of consecutive bars in a regime; NaN where there are none."""
    inside = labels == regime
    begins = np.count_nonzero(inside & ~np.concatenate(([False], inside[:-1])))
    return float(np.count_nonzero(inside) / begins) if begins else float("nan")


def switches(labels: Int8) -> int:
    """Return how often a known regime follows another known one."""
    known = labels[labels >= 0]
    return int(np.count_nonzero(np.diff(known)))


def adjusted_rand(one: Int8, other: Int8) -> float:
    """Return the adjusted Rand index of two classifications, over the bars that both know.

    1 where they agree but for the names of regimes, about 0 where they agree as often as by chance, and NaN
    where a bar is missing or neither tells anything apart. Hubert and Arabie (1985), Comparing partitions,
    Journal of Classification 2.

    Examples
    --------
    >>> one, other = np.array([0, 0, 1, 1], np.int8), np.array([1, 1, 0, 0], np.int8)
    >>> adjusted_rand(one, other)
    1.0
    """
    known = (one >= 0) & (other >= 0)
    if not known.any():
        return float("nan")
    first, second = one[known].astype(np.int64), other[known].astype(np.int64)
    table = np.bincount(first * (second.max() + 1) + second)
    rows, columns = np.bincount(first), np.bincount(second)
    both, a, b = (float((count * (count - 1) / 2).sum()) for count in (table, rows, columns))
    expected = a * b / (first.size * (first.size - 1) / 2) if first.size > 1 else 0.0
    most = (a + b) / 2
    return (both - expected) / (most - expected) if most != expected else float("nan")


def separation(values: Float64, labels: Int8) -> float:
    """Return the part of the variance of ``values`` that the regimes explain, adjusted for their number.

    Epsilon squared (Kelley 1935): about 0, or less, where regimes are left to chance. NaN where fewer than
    two regimes have values, or these don't vary.
    """
    known = (labels >= 0) & np.isfinite(values)
    group, found = labels[known].astype(np.int64), values[known]
    count = np.bincount(group)
    kinds = np.count_nonzero(count)
    total = float(((found - found.mean()) ** 2).sum()) if found.size else 0.0
    if kinds < 2 or found.size <= kinds or total == 0.0:
        return float("nan")
    means = np.bincount(group, found) / np.maximum(count, 1)
    within = float(((found - means[group]) ** 2).sum())
    return float(1.0 - within / (found.size - kinds) * (found.size - 1) / total)


def chance_of_separation(values: Float64, labels: Int8) -> float:
    """Return how often labels that are shifted in time separate ``values`` as well: a p-value.

    A shift keeps how long regimes last, and leaves to chance which bars they meet; bars that leave at the end
    come in at the begin. Shifts are spread evenly.
    """
    observed, size = separation(values, labels), values.size
    if not np.isfinite(observed):
        return float("nan")
    steps = np.unique(np.linspace(1, size - 1, min(SHIFTS, size - 1)).astype(np.int64))
    shifted = np.array([separation(values, np.roll(labels, step)) for step in steps.tolist()])
    return float((1 + np.count_nonzero(shifted >= observed)) / (1 + steps.size))
