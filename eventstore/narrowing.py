"""Whole numbers in fewer bytes: each less the lowest of its column, in as few as the highest then needs."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTHS = {0: 0, 1: 2**8 - 1, 2: 2**16 - 1, 4: 2**32 - 1}
"""Bytes for a value, and the largest value that they hold."""

SAMPLE = 64
"""So many values tell, mostly, that a column can't be made narrow; one of fewer is not worth the time."""


class Narrow(NamedTuple):
    """A column as it is kept.

    Attributes
    ----------
    values
        Its values themselves, or the same less ``low`` as unsigned integers.
    width
        Bytes of each of those integers; None where the values are kept as they are. With 0 there are no
        integers: all values are equal.
    low, high
        The smallest and the largest value, where they had to be found; None where all are NaN.
    """

    values: NDArray[Any]
    width: int | None = None
    low: int | float | None = None
    high: int | float | None = None


def narrowed(values: NDArray[Any]) -> Narrow:
    """Keep a column in as few bytes as hold each bit of it, which follow from the values alone.

    Parameters
    ----------
    values
        Shape (n_rows,). Integers and whole floating-point numbers that differ by less than 2**32, and
        any numbers that are all equal, become narrow if there are `SAMPLE` of them or more. A NaN must have
        the bits of ``np.nan``.
    """
    as_they_are, fractional = Narrow(values), values.dtype.kind == "f"
    if values.dtype.kind not in "if" or values.size < SAMPLE:
        return as_they_are
    first, last = values[0].item(), values[-1].item()
    if first == first != last and first % 1 != 0:
        return as_they_are
    if values.size > SAMPLE and narrowed(values[:SAMPLE]).width is None:
        return as_they_are
    low, high = values.min().item(), values.max().item()
    if low != low:
        return Narrow(values[:0], 0) if np.isnan(values).all() else as_they_are
    width = _width(low, high)
    if width is None or width >= values.dtype.itemsize:
        return Narrow(values, None, low, high)
    narrow = (values - low).astype(f"<u{width}") if width else values[:0]
    found = Narrow(narrow, width, low, high)
    if not fractional:
        return found
    again = widened(narrow, width, low, values.dtype, values.size if width else 1)
    return found if _equal_bits(again, values) else as_they_are


def widened(
    kept: NDArray[Any], width: int, low: int | float | None, dtype: np.dtype[Any], rows: int
) -> NDArray[Any]:
    """Return the column of which `narrowed` kept these values."""
    if width == 0:
        return np.full(rows, np.nan if low is None else low, dtype)
    values: NDArray[Any] = kept.astype(dtype)
    values += np.array(low, dtype)
    return values


def _width(low: int | float, high: int | float) -> int | None:
    if low != high and (low % 1 != 0 or high % 1 != 0):
        return None
    return next((width for width, most in WIDTHS.items() if high - low <= most), None)


def _equal_bits(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return bool((one.view(np.int64) == other.view(np.int64)).all())
