"""PyBroker: fixed numbers of shares, since it sizes at the close before the fill.

It works in decimals, so it is asked not to round to cents.
"""

import logging
from decimal import Decimal

import pandas as pd
import pybroker
from protocol import MARKED, Answer, Question, Trade, decisions, serve
from pybroker.slippage import FixedSlippageModel

pybroker.disable_logging()
pybroker.disable_progress_bar()
logging.disable(logging.CRITICAL)

FIELDS = ("open", "high", "low", "close")


def fees(question: Question) -> dict[str, object]:
    if question["commission"]:
        return {
            "fee_mode": pybroker.FeeMode.ORDER_PERCENT,
            "fee_amount": Decimal(str(question["commission"])) * 100,
        }
    if question["per_unit"]:
        return {"fee_mode": pybroker.FeeMode.PER_SHARE, "fee_amount": question["per_unit"]}
    return {"fee_mode": pybroker.FeeMode.PER_ORDER, "fee_amount": question["fixed"]}


def answer(question: Question) -> Answer:
    count = len(question["close"])
    dates = pd.date_range("2001-01-01", periods=count, freq="D")
    frame = pd.DataFrame({"symbol": "PEER", "date": dates, **{name: question[name] for name in FIELDS}})
    frame["volume"] = 1e9
    opens = question["fill"] == "next_open"
    price = pybroker.PriceType.OPEN if opens else pybroker.PriceType.CLOSE
    last = pybroker.PriceType.OPEN if question["end"] == "close_at_open" else pybroker.PriceType.CLOSE
    config = pybroker.StrategyConfig(
        initial_cash=question["capital"],
        **fees(question),
        enable_fractional_shares=question["granularity"] == 0.0,
        round_fill_price=False,
        round_test_result=False,
        exit_on_last_bar=question["end"] != "mark",
        exit_cover_fill_price=last,
        exit_sell_fill_price=last,
    )
    steps = {bar: after - before for bar, before, after in decisions(question)}

    def decide(context: pybroker.ExecContext) -> None:
        step = steps.get(context.bars - 1, 0.0)
        if step > 0.0:
            context.buy_shares, context.buy_fill_price = step * question["size"], price
        elif step < 0.0:
            context.sell_shares, context.sell_fill_price = -step * question["size"], price

    strategy = pybroker.Strategy(frame, dates[0], dates[-1], config)
    if question["slippage"]:
        strategy.set_slippage_model(FixedSlippageModel(question["slippage"] * 1e4))
    strategy.add_execution(decide, ["PEER"])
    result = strategy.backtest(calc_bootstrap=False)
    place = pd.Series(range(count), dates)
    equity = float(result.portfolio["market_value"].iloc[-1])
    if question["end"] != "mark":
        # Its portfolio of the last bar is that before the exit.
        equity = question["capital"] + float(result.trades["pnl"].sum() - result.orders["fees"].sum())
    return {"trades": trades(result, place, question["close"][-1]), "equity": equity}


def trades(result: pybroker.TestResult, place: pd.Series, close: float) -> list[Trade]:
    """Return its trades, with profits before fees, and the position that it still has."""
    found = [
        (
            int(place[one.entry_date]),
            int(place[one.exit_date]),
            float(one.shares) * (1.0 if one.type == "long" else -1.0),
            float(one.entry),
            float(one.exit),
            float(one.pnl),
        )
        for one in result.trades.itertuples()
    ]
    orders = list(result.orders.itertuples())
    left = float(sum(one.shares if one.type == "buy" else -one.shares for one in orders))
    if left:
        entry = float(orders[-1].fill_price)
        found.append((int(place[orders[-1].date]), -1, left, entry, MARKED, left * (close - entry)))
    return found


if __name__ == "__main__":
    serve(answer)
