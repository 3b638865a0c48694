"""Bars that differ from others only from a bar on: what is known before it must not change with them."""

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from .bars import Bars
from .events import Float64

Perturbation = Callable[[Bars, int], Bars]
"""Takes bars and an index; returns bars that are the same before it."""


def left_out(bars: Bars, cut: int) -> Bars:
    """Return the bars before `cut` alone."""
    return bars.head(cut)


def turned_over(bars: Bars, cut: int) -> Bars:
    """Let prices from `cut` on rise where they fell, and fall where they rose; reverse the volumes."""
    pivot = float(bars.close[max(cut - 1, 0)]) ** 2
    opens, highs, lows, closes, volumes = bars.prices[:, cut:]
    later = np.stack((pivot / opens, pivot / lows, pivot / highs, pivot / closes, volumes[::-1]))
    return _changed(bars, cut, later)


def raised(bars: Bars, cut: int) -> Bars:
    """Quadruple prices and volumes from `cut` on."""
    return _scaled(bars, cut, 4.0)


def lowered(bars: Bars, cut: int) -> Bars:
    """Divide prices and volumes from `cut` on by four."""
    return _scaled(bars, cut, 0.25)


PERTURBATIONS: Mapping[str, Perturbation] = {
    "left out": left_out,
    "turned over": turned_over,
    "quadrupled": raised,
    "divided by four": lowered,
}
"""By what is done to the bars from an index on."""


def without_first(bars: Bars, count: int) -> Bars:
    """Return the bars without the first `count`."""
    return msgspec.structs.replace(bars, time=bars.time[count:], prices=bars.prices[:, count:])


def _scaled(bars: Bars, cut: int, factor: float) -> Bars:
    return _changed(bars, cut, bars.prices[:, cut:] * factor)


def _changed(bars: Bars, cut: int, later: Float64) -> Bars:
    prices = np.concatenate((bars.prices[:, :cut], later), axis=1)
    prices.flags.writeable = False
    return msgspec.structs.replace(bars, prices=prices)
