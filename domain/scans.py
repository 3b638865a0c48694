"""The first bar at which something holds, found by comparing many bars at once."""

from .compiled import compiled_lean
from .events import Float64

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
def next_other(values: Float64, value: float, t: int, stop: int) -> int:
    """Return the first bar from ``t`` on with another value than this or NaN, or ``stop``."""
    for stride in STRIDES:
        while t + stride <= stop:
            these = values[t : t + stride]
            found = 0
            for i in range(stride):
                found |= int(these[i] < value or these[i] > value)
            if found != 0:
                break
            t += stride
    return t


@compiled_lean
def next_not_below(values: Float64, value: float, t: int) -> int:
    """Return the first bar from ``t`` on with this value or a higher one, or the number of bars."""
    for stride in STRIDES:
        while t + stride <= values.size:
            these = values[t : t + stride]
            found = 0
            for i in range(stride):
                found |= int(not these[i] < value)
            if found != 0:
                break
            t += stride
    return t
