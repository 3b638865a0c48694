"""The bars at which something holds, found by comparing many bars at once."""

import numpy as np

from .compiled import compiled_lean
from .events import Float64

WORD = 64
"""How many bars have a bit each in a word."""

STRIDES = (64, 8, 1)
"""How many bars are compared at once: many at first, as processors can, then fewer."""


@compiled_lean
def next_above(one: Float64, other: Float64, t: int) -> int:
    """Return the first bar from ``t`` on at which one series is above the other, or the number of bars."""
    for stride in STRIDES:
        while t + stride <= one.size:
            these, those = one[t : t + stride], other[t : t + stride]
            found = 0
            for i in range(stride):
                found |= int(these[i] > those[i])
            if found != 0:
                break
            t += stride
    return t


@compiled_lean
def changed(values: Float64, t: int) -> np.uint64:
    """Tell at which of `WORD` bars from ``t`` on, above zero, a value follows another one: a bit for each.

    NaN follows NaN as the same value.
    """
    these, before = values[t : t + WORD], values[t - 1 : t - 1 + WORD]
    found = np.uint64(0)
    for i in range(WORD):
        is_number = these[i] == these[i] or before[i] == before[i]
        found |= np.uint64(is_number and these[i] != before[i]) << np.uint64(i)
    return found
