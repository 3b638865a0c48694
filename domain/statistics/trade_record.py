"""The closed trades of one container, with what came of each and what it went through."""

from typing import NamedTuple

import numpy as np

from ..desk import HIGH, LOW, MARK, OPEN, Prices, Records
from ..events import Bool, Float64, Int8, Int64
from ..measurement import room_for, trades_of
from ..portfolio import excursions, filled_at_close

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class TradeRecord(NamedTuple):
    """Closed trades in columns, shape (n_trades,), in the order of their entries.

    Attributes
    ----------
    entry, exit
        Bars of the first and the last fill, on the timeline.
    side
        1 for a long trade, -1 for a short one.
    profit
        Net of fees.
    returns
        Profit as a part of the value at entry.
    mae, mfe
        Greatest excursions against the trade and in its favor, as fractions of the entry price; see
        `excursions`.
    """

    entry: Int64
    exit: Int64
    side: Int8
    profit: Float64
    returns: Float64
    mae: Float64
    mfe: Float64

    def at(self, rows: Bool) -> "TradeRecord":
        """Return some of the trades."""
        columns: dict[str, np.ndarray] = self._asdict()
        return TradeRecord(**{name: column[rows] for name, column in columns.items()})

    def figures(self) -> dict[str, float]:
        """Return the number of trades, means over them, and quantiles of their excursions.

        ``edge_ratio`` is the mean MFE by the mean MAE.
        """
        if not self.entry.size:
            return {"trades": 0.0}
        mae, mfe = float(self.mae.mean()), float(self.mfe.mean())
        found = {
            "trades": float(self.entry.size),
            "bars": float(np.mean(self.exit - self.entry)),
            "win_rate": float(np.mean(self.profit > 0.0)),
            "return": float(self.returns.mean()),
            "mae": mae,
            "mfe": mfe,
            "edge_ratio": mfe / mae if mae > 0.0 else float("nan"),
        }
        for name, column in (("mae", self.mae), ("mfe", self.mfe)):
            for level, value in zip(QUANTILES, np.quantile(column, QUANTILES), strict=True):
                found[f"{name}.q{level * 100:02.0f}"] = float(value)
        return found


def trade_record(
    prices: Prices, stop: int, fills: Records, capital: float, *, slippage: float, opens: bool
) -> TradeRecord:
    """Derive the closed trades of a container from its fills.

    Parameters
    ----------
    prices
        The bars.
    stop
        The bar after the container's last one.
    fills
        Its fills in order, as records of `desk.FILL`.
    capital
        Its cash before the first fill.
    slippage, opens
        As a fraction, and whether orders at market are filled at the open; they tell which fills happened at
        the close of their bars.
    """
    room = room_for(prices, fills.size)
    count = trades_of(prices, stop - 1, fills, capital, room)
    trades, bars = room.found.at(slice(count)), room.bars
    trades = trades.at(trades.exit_fill >= 0)
    # Trades refer to fills symbol by symbol.
    fills = fills[np.argsort(fills["symbol"], kind="stable")]
    symbol, price = fills["symbol"].astype(np.int64), np.ascontiguousarray(fills["price"])
    open_, close = prices.grid[OPEN, symbol, bars], prices.grid[prices.mark, symbol, bars]
    at_close = filled_at_close(fills["quantity"], price, open_, close, slippage, opens=opens)
    mae, mfe = np.empty((2, trades.side.size))
    for number in np.unique(symbol).tolist():
        own = np.flatnonzero(symbol[trades.entry_fill] == number)
        high, low = prices.grid[HIGH, number], prices.grid[LOW, number]
        if prices.mark == MARK:
            high, low = np.where(np.isnan(high), -np.inf, high), np.where(np.isnan(low), np.inf, low)
        against, favor = np.empty((2, own.size))
        excursions(trades.at(own), (bars, price, at_close), high, low, stop, against, favor)
        mae[own], mfe[own] = against, favor
    order = np.argsort(bars[trades.entry_fill], kind="stable")
    trades = trades.at(order)
    entry, leave = bars[trades.entry_fill], bars[trades.exit_fill]
    returns = trades.pnl / (trades.quantity * trades.entry_price)
    return TradeRecord(entry, leave, trades.side, trades.pnl, returns, mae[order], mfe[order])
