"""Bars of one or more symbols on one timeline."""

from collections.abc import Sequence
from datetime import date
from functools import cached_property

import numpy as np

from .bars import Bars, Window, window_of
from .errors import DataError
from .events import Int32


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
    is_dense
        Whether every symbol has a bar at every time.

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
        times = [each.time for each in bars]
        self.is_dense = all(np.array_equal(time, times[0]) for time in times[1:])
        self.time = times[0] if self.is_dense else np.unique(np.concatenate(times))

    def __len__(self) -> int:
        """Return the number of bars on the timeline."""
        return self.time.size

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names of the symbols."""
        return tuple(each.symbol for each in self.bars)

    @cached_property
    def at(self) -> tuple[Int32, ...]:
        """Per symbol: the place on the timeline of each of its bars."""
        if self.is_dense:
            return (np.arange(len(self), dtype=np.int32),) * len(self.bars)
        return tuple(np.searchsorted(self.time, each.time).astype(np.int32) for each in self.bars)

    @cached_property
    def own(self) -> tuple[Int32, ...]:
        """Per symbol: at each place, the number of its last bar up to then, -1 before its first."""
        if self.is_dense:
            return self.at
        ends = (np.searchsorted(each.time, self.time, side="right") for each in self.bars)
        return tuple((end - 1).astype(np.int32) for end in ends)

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
