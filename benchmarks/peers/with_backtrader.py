"""backtrader: `run` for one combination, `optstrategy` on two processors for a sweep."""

from importlib.metadata import version

import backtrader as bt
import pandas as pd
from protocol import Bars, Outcome, Task, combinations, outcome_of_fills, serve

FIELDS = ("open", "high", "low", "close", "volume")


class Cross(bt.Strategy):
    params = (("pair", (10, 30)), ("units", 100))

    def __init__(self) -> None:
        fast, slow = (bt.ind.SMA(period=period) for period in self.p.pair)
        self.cross = bt.ind.CrossOver(fast, slow)

    def next(self) -> None:
        if self.cross > 0:
            self.buy(size=self.p.units)
        elif self.cross < 0 and self.position:
            self.close()


class Account(bt.Analyzer):
    """What the comparison needs: in a sweep nothing but analyzers comes back."""

    def start(self) -> None:
        self.fills: list[tuple[int, float, float]] = []
        self.equity = 0.0

    def notify_order(self, order: bt.Order) -> None:
        if order.status == order.Completed:
            self.fills.append((len(self.strategy) - 1, order.executed.size, order.executed.price))

    def stop(self) -> None:
        self.equity = self.strategy.broker.getvalue()

    def get_analysis(self) -> dict[str, object]:
        return {"equity": self.equity, "fills": self.fills}


def run(task: Task, bars: Bars, keep: bool) -> list[object]:  # noqa: ARG001
    frame = pd.DataFrame({name: getattr(bars, name) for name in FIELDS}, pd.DatetimeIndex(bars.time))
    cerebro = bt.Cerebro(stdstats=False, maxcpus=2)
    minutes = task["timeframe"] == "1m"
    cerebro.adddata(
        bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes if minutes else bt.TimeFrame.Days)
    )
    cerebro.broker.setcash(task["capital"])
    cerebro.broker.setcommission(commission=task["fee"])
    for analyzer in (Account, bt.analyzers.SharpeRatio, bt.analyzers.DrawDown, bt.analyzers.TradeAnalyzer):
        cerebro.addanalyzer(analyzer)
    pairs = combinations(task)
    if len(pairs) == 1:
        cerebro.addstrategy(Cross, pair=pairs[0], units=task["units"])
        return cerebro.run()
    cerebro.optstrategy(Cross, pair=pairs, units=[task["units"]])
    return [ran[0] for ran in cerebro.run()]


def outcome(task: Task, bars: Bars, made: list[object]) -> Outcome:  # noqa: ARG001
    row = {pair: number for number, pair in enumerate(combinations(task))}
    equity, closed, fills = [0.0] * len(row), [0] * len(row), []
    for ran in made:
        number, account = row[tuple(ran.p.pair)], ran.analyzers.account.get_analysis()
        equity[number] = account["equity"]
        closed[number] = sum(quantity < 0 for _, quantity, _ in account["fills"])
        fills += [(number, *fill) for fill in account["fills"]]
    return outcome_of_fills(equity, closed, fills)


if __name__ == "__main__":
    serve(run, outcome, {"backtrader": version("backtrader")})
