"""NautilusTrader: an engine for each combination, two processes for a sweep.

A market order that is sent when a bar closes is filled at that close; there is no fill at the next open.
"""

from decimal import Decimal
from importlib.metadata import version

import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy
from protocol import Bars, Ran, Task, in_two_processes, outcome_of_backtests, serve

FIELDS = ("open", "high", "low", "close", "volume")
VENUE = Venue("SIM")
INSTRUMENT = InstrumentId(Symbol("BENCH"), VENUE)


class CrossConfig(StrategyConfig, frozen=True):
    bar_type: BarType
    fast: int
    slow: int
    units: int


class Cross(Strategy):
    def __init__(self, config: CrossConfig) -> None:
        super().__init__(config)
        self.fast = SimpleMovingAverage(config.fast)
        self.slow = SimpleMovingAverage(config.slow)
        self.side = 0
        self.bar = -1
        self.fills: list[tuple[int, float, float]] = []

    def on_start(self) -> None:
        for indicator in (self.fast, self.slow):
            self.register_indicator_for_bars(self.config.bar_type, indicator)
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar: Bar) -> None:  # noqa: ARG002
        self.bar += 1
        if not self.indicators_initialized():
            return
        side = int(self.fast.value > self.slow.value) - int(self.fast.value < self.slow.value)
        if side == 1 and self.side == -1:
            self._send(OrderSide.BUY)
        elif side == -1 and self.portfolio.is_net_long(INSTRUMENT):
            self._send(OrderSide.SELL)
        self.side = side or self.side

    def _send(self, side: OrderSide) -> None:
        self.submit_order(self.order_factory.market(INSTRUMENT, side, Quantity.from_int(self.config.units)))

    def on_order_filled(self, event: OrderFilled) -> None:
        quantity = float(event.last_qty)
        signed = quantity if event.order_side == OrderSide.BUY else -quantity
        self.fills.append((self.bar, signed, float(event.last_px)))


def instrument(task: Task) -> Equity:
    return Equity(
        instrument_id=INSTRUMENT,
        raw_symbol=INSTRUMENT.symbol,
        currency=USD,
        price_precision=6,
        price_increment=Price.from_str("0.000001"),
        lot_size=Quantity.from_int(1),
        ts_event=0,
        ts_init=0,
        maker_fee=Decimal(str(task["fee"])),
        taker_fee=Decimal(str(task["fee"])),
    )


def backtest(task: Task, bars: Bars, pair: tuple[int, int]) -> Ran:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        venue=VENUE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.CASH,
        base_currency=USD,
        starting_balances=[Money(task["capital"], USD)],
    )
    traded = instrument(task)
    engine.add_instrument(traded)
    step = "1-DAY" if task["timeframe"] == "1d" else "1-MINUTE"
    bar_type = BarType.from_str(f"{INSTRUMENT}-{step}-LAST-EXTERNAL")
    frame = pd.DataFrame(
        {name: getattr(bars, name) for name in FIELDS},
        pd.DatetimeIndex(bars.time, tz="UTC", name="timestamp"),
    )
    engine.add_data(BarDataWrangler(bar_type, traded).process(frame))
    fast, slow = pair
    strategy = Cross(CrossConfig(bar_type=bar_type, fast=fast, slow=slow, units=int(task["units"])))
    engine.add_strategy(strategy)
    engine.run()
    account = engine.portfolio.account(VENUE)
    held = sum(quantity for _, quantity, _ in strategy.fills)
    equity = account.balance_total(USD).as_double() + held * float(bars.close[-1])
    closed = sum(quantity < 0 for _, quantity, _ in strategy.fills)
    fills = strategy.fills
    engine.dispose()
    return equity, closed, fills


def run(task: Task, bars: Bars, keep: bool) -> list[Ran]:  # noqa: ARG001
    return in_two_processes(backtest, task, bars)


if __name__ == "__main__":
    serve(run, outcome_of_backtests, {"nautilus_trader": version("nautilus_trader")})
