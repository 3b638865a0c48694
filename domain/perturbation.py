"""Bars that differ from others only from a bar on: what is known before it must not change with them."""

from collections.abc import Callable, Mapping

import numpy as np

from .bars import Bars, bars_from
from .events import BarsLoaded, Float64

Perturbation = Callable[[Bars, int], Bars]
"""Takes bars and an index; returns bars that are the same before it."""


def left_out(bars: Bars, cut: int) -> Bars:
    """Return the bars before `cut` alone."""
    return bars.head(cut)


def turned_over(bars: Bars, cut: int) -> Bars:
    """Let prices from `cut` on rise where they fell, and fall where they rose; reverse the volumes."""
    pivot = float(bars.close[max(cut - 1, 0)]) ** 2
    later = slice(cut, None)
    return _changed(
        bars,
        cut,
        {
            "open": pivot / bars.open[later],
            "high": pivot / bars.low[later],
            "low": pivot / bars.high[later],
            "close": pivot / bars.close[later],
            "volume": bars.volume[later][::-1],
        },
    )


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
    return bars_from(
        BarsLoaded(
            time=bars.time[count:],
            open=bars.open[count:],
            high=bars.high[count:],
            low=bars.low[count:],
            close=bars.close[count:],
            volume=bars.volume[count:],
        ),
        bars.symbol,
        bars.timeframe,
        bars.sessions,
    )


def _scaled(bars: Bars, cut: int, factor: float) -> Bars:
    names = ("open", "high", "low", "close", "volume")
    return _changed(bars, cut, {name: getattr(bars, name)[cut:] * factor for name in names})


def _changed(bars: Bars, cut: int, later: Mapping[str, Float64]) -> Bars:
    columns = {name: np.concatenate((getattr(bars, name)[:cut], values)) for name, values in later.items()}
    return bars_from(BarsLoaded(time=bars.time, **columns), bars.symbol, bars.timeframe, bars.sessions)
