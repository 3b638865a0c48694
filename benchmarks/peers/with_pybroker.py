"""PyBroker: one backtest for each combination, two processes for a sweep.

Its `optimize` always keeps some bars back to test on, so it can't run over the same bars.
"""

import logging
from importlib.metadata import version

import pandas as pd
import pybroker
from protocol import Bars, Ran, Task, in_two_processes, outcome_of_backtests, serve

FIELDS = ("open", "high", "low", "close", "volume")

UNITS = 100

pybroker.disable_logging()
pybroker.disable_progress_bar()
logging.disable(logging.CRITICAL)


def average(data: pybroker.BarData, period: int) -> pd.Series:
    return pd.Series(data.close).rolling(period).mean().to_numpy()


def decide(context: pybroker.ExecContext) -> None:
    fast, slow = context.indicator("fast")[-1], context.indicator("slow")[-1]
    side = int(fast > slow) - int(fast < slow)
    if not side:
        return
    before = context.session.get("side", 0)
    context.session["side"] = side
    if side == 1 and before == -1:
        context.buy_shares = UNITS
        context.buy_fill_price = pybroker.PriceType.OPEN
    elif side == -1 and context.long_pos():
        context.sell_all_shares()
        context.sell_fill_price = pybroker.PriceType.OPEN


def backtest(task: Task, bars: Bars, pair: tuple[int, int]) -> Ran:
    assert task["units"] == UNITS
    frame = pd.DataFrame(
        {"symbol": "BENCH", "date": bars.time, **{name: getattr(bars, name) for name in FIELDS}}
    )
    config = pybroker.StrategyConfig(
        initial_cash=task["capital"],
        fee_mode=pybroker.FeeMode.ORDER_PERCENT,
        fee_amount=task["fee"] * 100,
        round_fill_price=False,
        round_test_result=False,
    )
    strategy = pybroker.Strategy(frame, bars.time[0], bars.time[-1], config)
    averages = [
        pybroker.indicator(name, average, period=period)
        for name, period in zip(("fast", "slow"), pair, strict=True)
    ]
    strategy.add_execution(decide, ["BENCH"], indicators=averages)
    result = strategy.backtest()
    place = pd.Series(range(len(bars.time)), pd.DatetimeIndex(bars.time))
    orders = result.orders
    signed = orders["shares"].where(orders["type"] == "buy", -orders["shares"]).astype(float)
    fills = list(zip(place[orders["date"]], signed, orders["fill_price"].astype(float), strict=True))
    return float(result.portfolio["equity"].iloc[-1]), len(result.trades), fills


def run(task: Task, bars: Bars, keep: bool) -> list[Ran]:  # noqa: ARG001
    return in_two_processes(backtest, task, bars)


if __name__ == "__main__":
    serve(run, outcome_of_backtests, {"lib-pybroker": version("lib-pybroker")})
