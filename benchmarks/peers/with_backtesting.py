"""backtesting.py: `run` for one combination, `optimize(method="grid")` in two processes for a sweep."""

import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy
from backtesting.lib import crossover
from protocol import Bars, Outcome, Task, combinations, outcome_of_fills, serve

# It warns of open trades at the end, which are wanted here, and of progress bars.
warnings.filterwarnings("ignore")


def average(values: np.ndarray, window: int) -> pd.Series:
    return pd.Series(values).rolling(window).mean()


class Cross(Strategy):
    fast = 10
    slow = 30
    units = 100

    def init(self) -> None:
        self.fast_average = self.I(average, self.data.Close, self.fast)
        self.slow_average = self.I(average, self.data.Close, self.slow)

    def next(self) -> None:
        if crossover(self.fast_average, self.slow_average):
            self.buy(size=self.units)
        elif crossover(self.slow_average, self.fast_average):
            self.position.close()


def run(task: Task, bars: Bars, keep: bool) -> tuple[pd.Series, ...]:
    frame = pd.DataFrame(
        {name.capitalize(): getattr(bars, name) for name in ("open", "high", "low", "close", "volume")},
        index=pd.DatetimeIndex(bars.time),
    )
    Cross.units = int(task["units"])
    backtest = Backtest(frame, Cross, cash=task["capital"], commission=task["fee"])
    if len(combinations(task)) == 1:
        return (backtest.run(fast=task["fast"][0], slow=task["slow"][0]),)

    def heatmap(maximize: str) -> pd.Series:
        found = backtest.optimize(
            fast=task["fast"], slow=task["slow"], maximize=maximize, return_heatmap=True, method="grid"
        )
        return found[1]

    return heatmap("Equity Final [$]"), *([heatmap("# Trades")] if keep else [])


def outcome(task: Task, bars: Bars, made: tuple[pd.Series, ...]) -> Outcome:  # noqa: ARG001
    if len(made) == 2:
        equity, closed = (part.loc[combinations(task)].to_numpy() for part in made)
        return outcome_of_fills(equity, closed, [])
    (statistics,) = made
    trades, fills = statistics["_trades"], []
    for trade in trades.itertuples():
        fills.append((0, trade.EntryBar, trade.Size, trade.EntryPrice))
        fills.append((0, trade.ExitBar, -trade.Size, trade.ExitPrice))
    fills += [(0, trade.entry_bar, trade.size, trade.entry_price) for trade in statistics["_strategy"].trades]
    return outcome_of_fills([statistics["Equity Final [$]"]], [len(trades)], fills)


if __name__ == "__main__":
    serve(run, outcome, {"backtesting": version("backtesting")})
