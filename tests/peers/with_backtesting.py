"""backtesting.py: market orders, whole units, with one trade at a time."""

import os
import warnings
from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd
from protocol import MARKED, Answer, Question, decisions, serve

# It warns of orders that it cancels for want of money, and of open trades at the end.
warnings.filterwarnings("ignore")
os.environ["TQDM_DISABLE"] = "1"

from backtesting import Backtest, Strategy  # noqa: E402

WHOLE = 1 - 2**-53
"""It takes sizes below 1 as parts of equity, and 1 as one unit."""


class Follow(Strategy):
    """Follow the targets of a question."""

    steps: Mapping[int, float] = MappingProxyType({})
    size = 1.0

    def init(self) -> None:
        """Need no indicators."""

    def next(self) -> None:
        after = self.steps.get(len(self.data) - 1)
        if after is None:
            return
        if self.position:
            self.position.close()
        if after > 0.0:
            self.buy(size=self.size)
        elif after < 0.0:
            self.sell(size=self.size)


def answer(question: Question) -> Answer:
    frame = pd.DataFrame(
        {name.capitalize(): question[name] for name in ("open", "high", "low", "close")},
        pd.date_range("2001-01-01", periods=len(question["close"]), freq="D"),
    )
    units = question["sizing"] == "units"
    size = int(question["size"]) if units else min(question["size"], WHOLE)
    made = Backtest(
        frame,
        Follow,
        cash=question["capital"],
        commission=(question["fixed"], question["commission"]),
        trade_on_close=question["fill"] == "same_close",
        finalize_trades=question["end"] == "close_at_open",
    )
    steps = {bar: after for bar, _, after in decisions(question)}
    statistics = made.run(steps=steps, size=size)
    trades = [
        (one.EntryBar, one.ExitBar, float(one.Size), one.EntryPrice, one.ExitPrice, one.PnL)
        for one in statistics["_trades"].itertuples()
    ]
    for one in statistics["_strategy"].trades:
        paid = question["fixed"] + abs(one.size) * one.entry_price * question["commission"]
        trades.append((one.entry_bar, -1, float(one.size), one.entry_price, MARKED, one.pl - paid))
    return {"trades": sorted(trades), "equity": float(statistics["Equity Final [$]"])}


if __name__ == "__main__":
    serve(answer)
