"""vectorbt: orders in rows, one for each order, since it takes one order per row and knows no calendar.

A reversal is two rows at one price. Exits attached to positions need its signals, and a row for each bar.
"""

import numpy as np
import vectorbt as vbt
from protocol import MARKED, Answer, Question, decisions, serve
from vectorbt.portfolio.enums import Direction, SizeType, StopEntryPrice, StopExitPrice, TradeStatus

NOTHING = np.nan


def rows_of(question: Question) -> list[tuple[int, float, float, int]]:
    """Return bar, price, size and type of size of each order, and a row at the last close without one."""
    last = len(question["close"]) - 1
    delay = 0 if question["fill"] == "same_close" else 1
    prices = question["open" if question["fill"] == "next_open" else "close"]
    rows = []
    for decided, before, after in decisions(question):
        bar = decided + delay
        if bar > last:
            continue
        if before * after <= 0.0 and before != 0.0:
            rows.append((bar, prices[bar], 0.0, SizeType.TargetAmount))
        if after != 0.0:
            rows.append((bar, prices[bar], *sized(question, after)))
    if question["end"] != "mark":
        price = question["open" if question["end"] == "close_at_open" else "close"][last]
        rows.append((last, price, 0.0, SizeType.TargetAmount))
    return [*rows, (last, question["close"][last], NOTHING, SizeType.Amount)]


def sized(question: Question, target: float) -> tuple[float, int]:
    size = target * question["size"]
    if question["sizing"] == "units":
        return size, SizeType.TargetAmount
    if question["sizing"] == "value":
        return size, SizeType.TargetValue
    # A part of the cash pays its own costs, but can't be a target; a part of the value can, and does not.
    return size, SizeType.TargetPercent if question["partly"] else SizeType.Percent


def by_orders(question: Question) -> tuple[vbt.Portfolio, list[int]]:
    rows = rows_of(question)
    bar, price, size, size_type = (np.array(column) for column in zip(*rows, strict=True))
    close = np.array(question["close"])[bar]
    granularity = question["granularity"]
    portfolio = vbt.Portfolio.from_orders(
        close,
        size,
        size_type,
        Direction.Both,
        price,
        fees=question["commission"],
        fixed_fees=question["fixed"],
        slippage=question["slippage"],
        min_size=granularity,
        size_granularity=granularity or np.nan,
        lock_cash=True,
        allow_partial=False,
        val_price=np.inf,
        init_cash=question["capital"],
        engine=question["engine"],
    )
    return portfolio, bar.tolist()


def by_signals(question: Question) -> tuple[vbt.Portfolio, list[int]]:
    close = np.array(question["close"])
    signals = np.zeros((4, close.size), np.bool_)
    long_entries, long_exits, short_entries, short_exits = signals
    for bar, before, after in decisions(question):
        (long_exits if before > 0.0 else short_exits)[bar] = before != 0.0
        (long_entries if after > 0.0 else short_entries)[bar] = after != 0.0
    trails = question["trailing_stop"] > 0.0
    portfolio = vbt.Portfolio.from_signals(
        close,
        long_entries,
        long_exits,
        short_entries,
        short_exits,
        size=question["size"],
        size_type=SizeType.Amount,
        price=close,
        fees=question["commission"],
        fixed_fees=question["fixed"],
        init_cash=question["capital"],
        open=np.array(question["open"]),
        high=np.array(question["high"]),
        low=np.array(question["low"]),
        sl_stop=(question["trailing_stop"] if trails else question["stop_loss"]) or np.nan,
        sl_trail=trails,
        tp_stop=question["take_profit"] or np.nan,
        stop_entry_price=StopEntryPrice.FillPrice,
        stop_exit_price=StopExitPrice.StopLimit,
        allow_partial=False,
        engine=question["engine"],
    )
    return portfolio, list(range(close.size))


def answer(question: Question) -> Answer:
    exits = question["stop_loss"] + question["take_profit"] + question["trailing_stop"]
    portfolio, bar = by_signals(question) if exits else by_orders(question)
    trades = []
    for one in portfolio.positions.values:
        side = 1.0 if one["direction"] == Direction.LongOnly else -1.0
        is_open = one["status"] == TradeStatus.Open
        leave = -1 if is_open else bar[one["exit_idx"]]
        exit_price = MARKED if is_open else float(one["exit_price"])
        figures = side * float(one["size"]), float(one["entry_price"]), exit_price, float(one["pnl"])
        trades.append((bar[one["entry_idx"]], leave, *figures))
    return {"trades": trades, "equity": float(portfolio.final_value())}


if __name__ == "__main__":
    serve(answer)
