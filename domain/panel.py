"""Bars of one or more symbols on one timeline."""

from collections.abc import Sequence
from datetime import date
from functools import cached_property

import numpy as np

from .bars import Bars, Window, window_of
from .errors import DataError
from .events import Int32, Int64


class Panel:
    """Bars of one or more symbols, side by side.

    Parameters
    ----------
    bars
        The bars of each symbol; at least one symbol.

    Attributes
    ----------
    time
        The timeline: all times at which any symbol has a bar, shape (n_bars,).
    at
        Per symbol: the place on the timeline of each of its bars.
    own
        Per symbol: at each place on the timeline, the number of the symbol's last bar up to then, -1 before
        its first.

    Raises
    ------
    DataError
        A symbol is there twice.
    """

    def __init__(self, bars: Sequence[Bars]) -> None:
        names = [each.symbol for each in bars]
        if len(set(names)) < len(names):
            raise DataError(f"the symbols of a phase must differ, were {', '.join(names)}.")
        self.bars = tuple(bars)
        self.time, self.at, self.own = _timeline(self.bars)

    def __len__(self) -> int:
        """Return the number of bars on the timeline."""
        return self.time.size

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names of the symbols."""
        return tuple(each.symbol for each in self.bars)

    @cached_property
    def is_dense(self) -> bool:
        """Whether every symbol has a bar at every time."""
        return all(len(each) == len(self) for each in self.bars)

    def head(self, stop: int) -> "Panel":
        """Give the bars before place ``stop`` on the timeline, as views."""
        if stop == len(self):
            return self
        return Panel(
            [
                each.head(int(np.searchsorted(places, stop)))
                for each, places in zip(self.bars, self.at, strict=True)
            ]
        )

    def window(self, start: date | None = None, end: date | None = None) -> Window:
        """Find the places on the timeline that are dated from ``start`` to ``end``; see `Bars.window`."""
        return window_of(self.time, ", ".join(self.symbols), start, end)


def _timeline(bars: tuple[Bars, ...]) -> tuple[Int64, tuple[Int32, ...], tuple[Int32, ...]]:
    time = bars[0].time
    if all(np.array_equal(each.time, time) for each in bars[1:]):
        same = np.arange(time.size, dtype=np.int32)
        return time, (same,) * len(bars), (same,) * len(bars)
    time = np.unique(np.concatenate([each.time for each in bars]))
    at = tuple(np.searchsorted(time, each.time).astype(np.int32) for each in bars)
    own = tuple((np.searchsorted(each.time, time, side="right") - 1).astype(np.int32) for each in bars)
    return time, at, own
