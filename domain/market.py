"""The market of a phase: bars of its symbols, with the features computed over them."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .desk import CLOSE, MARK, Prices
from .events import Float64, Int8
from .features import Feature, feature_table
from .panel import Panel


class Market:
    """Bars with the features computed over each symbol's own: shared by all containers, read only.

    Parameters
    ----------
    panel
        The bars.
    features
        Distinct features.
    tables
        Their values over each symbol's bars, shape (n_features, n_bars of the symbol); computed where left
        out.
    regimes
        The regime that is known at the close of each bar, shape (n_bars,), -1 for none; None where bars are
        not classified.
    """

    def __init__(
        self,
        panel: Panel,
        features: tuple[Feature, ...],
        tables: Sequence[Float64] | None = None,
        regimes: Int8 | None = None,
    ) -> None:
        self.panel = panel
        self.features = features
        self.tables = tuple(tables or (feature_table(features, bars) for bars in panel.bars))
        self.rows = {feature: row for row, feature in enumerate(features)}
        self.regimes = regimes

    @cached_property
    def prices(self) -> Prices:
        """The bars on the timeline, as compiled code reads them."""
        panel = self.panel
        if len(panel.bars) == 1:
            grid = np.ascontiguousarray(panel.bars[0].prices)[:, None]
        elif panel.is_dense:
            grid = np.stack([bars.prices for bars in panel.bars], axis=1)
        else:
            grid = np.full((MARK + 1, len(panel.bars), len(panel)), np.nan)
            for symbol, (bars, places, last) in enumerate(zip(panel.bars, panel.at, panel.own, strict=True)):
                grid[:MARK, symbol, places] = bars.prices
                grid[MARK, symbol, last >= 0] = bars.close[last[last >= 0]]
        # Compiled code tells arrays that may be written from those that may not.
        time = panel.time.view()
        grid.flags.writeable = time.flags.writeable = False
        return Prices(time, grid, CLOSE if panel.is_dense else MARK)

    def feature(self, spec: Feature, symbol: int = 0) -> Float64:
        """Return a feature's values over a symbol's bars, shape (n_bars of the symbol,)."""
        values: Float64 = self.tables[symbol][self.rows[spec]]
        return values

    def volatility(self, period: int, per_year: float) -> Float64:
        """Return the standard deviation of the last ``period`` log returns of each symbol, per year.

        Shape (n_symbols, n_bars) on the timeline; NaN until there are as many returns.
        """
        found = np.full((len(self.panel.bars), len(self.panel)), np.nan)
        for row, (bars, own) in enumerate(zip(self.panel.bars, self.panel.own, strict=True)):
            returns = np.diff(np.log(bars.close))
            values = np.full(len(bars), np.nan)
            if returns.size >= period:
                spread = np.std(sliding_window_view(returns, period), axis=1, ddof=1)
                values[period:] = spread * np.sqrt(per_year)
            found[row, own >= 0] = values[own[own >= 0]]
        return found
