"""How orders become fills: the named policy that every run records.

| choice | values | meaning |
| --- | --- | --- |
| fill | next_open, same_close, next_close | price of a market order decided at a bar's close |
| limit | touch, through | whether limit orders and targets fill when the bar reaches them, or only beyond |
| rounding | fraction, floor, lot | quantities as they come, or whole units or lots, rounded toward zero |
| end | mark, close, close_at_open | a last position is kept, or closed at the last close or open |

What happens inside a bar, in this order:

1. Market orders fill at the open; a limit or stop order that the open has passed fills at the open (a gap).
2. Exits attached to positions: on a bar that touches both, the stop goes before the target.
3. Limit, stop and stop-limit orders that the bar reaches. A stop-limit order whose limit lies on the far side
   of its stop waits for a later bar, since nobody knows which of the two prices came first.
4. The close: interest, margin and risk limits, then the strategies' new targets.

An exit that closes a position gives up what is left of older orders for the same position; newer ones wait
until it is done. What a symbol's last bar in the window leaves open is closed there, or kept.

A position that began at the open of a bar can end inside it. One that began inside of a bar can end inside it
only at its target, and only where it began at a stop price and the bar did not reach its own stop.

A reversal is two orders, one that closes and one that opens. Quantities are decided at the price of the fill,
from the equity at that instant; the cost of trading comes out of the order's budget. Orders that reduce a
position go before those that enlarge one. ``close_at_open`` goes with ``next_open`` only, since the other
fills of the last bar come after its open.
"""

from enum import IntEnum

import msgspec

from .errors import ConfigurationError


class FillPrice(IntEnum):
    """Where a market order decided at the close of bar t is filled."""

    NEXT_OPEN = 0
    SAME_CLOSE = 1
    NEXT_CLOSE = 2


class LimitFill(IntEnum):
    """When the bar's range fills a limit order."""

    TOUCH = 0
    THROUGH = 1


class Rounding(IntEnum):
    """Which quantities can be traded."""

    FRACTION = 0
    FLOOR = 1
    LOT = 2


class EndOfData(IntEnum):
    """What happens to a position at the last bar."""

    MARK = 0
    CLOSE = 1
    CLOSE_AT_OPEN = 2


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """The fill policy of a phase.

    Attributes
    ----------
    fill, limit, rounding, end
        See the table above.
    lot
        Units of a lot, for rounding to lots.
    commission_rate
        Fraction of a fill's value.
    commission_per_unit
        Currency, for each unit of a fill.
    commission_fixed, commission_minimum
        Currency, for each fill: added to the other two, and the least that all three amount to.
    slippage
        Fraction by which a purchase costs more, and a sale brings less, than the bar's price. Limit orders
        and targets fill at their price or better.
    volume_limit
        Largest fraction of a bar's volume that one symbol's orders may fill; what is left of an order waits
        for the bars after it. Zero for no limit.
    price_impact
        A fill that takes the fraction v of a bar's volume is worse by the fraction ``price_impact * v**2``
        (the volume-share model of zipline). It needs a volume limit.
    leverage
        Largest gross exposure that can be bought, as a multiple of equity.
    maintenance_margin
        With leverage, or above zero: when equity at a close is at most this fraction of gross exposure, all
        positions are closed at that close (a margin call).
    borrow_rate, interest_rate
        Per year of 365 days: on the value of short positions, and on borrowed cash, both at the close before.
    """

    fill: FillPrice = FillPrice.NEXT_OPEN
    limit: LimitFill = LimitFill.TOUCH
    rounding: Rounding = Rounding.FRACTION
    lot: float = 1.0
    end: EndOfData = EndOfData.MARK
    commission_rate: float = 0.0
    commission_per_unit: float = 0.0
    commission_fixed: float = 0.0
    commission_minimum: float = 0.0
    slippage: float = 0.0
    volume_limit: float = 0.0
    price_impact: float = 0.0
    leverage: float = 1.0
    maintenance_margin: float = 0.0
    borrow_rate: float = 0.0
    interest_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.end is EndOfData.CLOSE_AT_OPEN and self.fill is not FillPrice.NEXT_OPEN:
            raise ConfigurationError(
                f"execution: end close_at_open needs fill next_open, was {self.fill.name.lower()}: a fill at "
                "the last close comes after the last open; choose end close or mark."
            )
        if self.price_impact > 0.0 and not self.volume_limit > 0.0:
            raise ConfigurationError(
                "execution: price_impact needs a volume_limit, the largest fraction of a bar's volume that "
                "may be filled; state one, such as 0.025."
            )
        if self.leverage < 1.0:
            raise ConfigurationError(f"execution: leverage must be at least 1, was {self.leverage}.")

    @property
    def granularity(self) -> float:
        """The smallest quantity that can be traded; zero for any fraction of a unit."""
        match self.rounding:
            case Rounding.FLOOR:
                return 1.0
            case Rounding.LOT:
                return self.lot
        return 0.0


class SizingRule(IntEnum):
    """What a full signal (exposure 1) buys."""

    PERCENTAGE = 0
    """A percentage of equity."""
    UNITS = 1
    """A number of units."""
    SIZE = 2
    """An amount of currency."""
    VOLATILITY = 3
    """As much as makes the position's volatility this percentage of equity per year."""
    KELLY = 4
    """This percentage of the Kelly fraction of the trades closed so far."""


OF_EQUITY = (SizingRule.PERCENTAGE, SizingRule.VOLATILITY, SizingRule.KELLY)
"""The rules whose size is a percentage; a search may choose among them."""


class Sizer(msgspec.Struct, frozen=True, kw_only=True):
    """A position sizer; ``value`` is in the unit of its rule and scales with the signal's target exposure.

    Attributes
    ----------
    name, rule, value
        Its name in search spaces, its rule, and how much.
    period
        Bars over which the VOLATILITY rule measures the standard deviation of log returns.
    minimum_trades, start
        The KELLY rule buys ``start`` percent of equity until this many trades have been closed.
    """

    name: str = "all_in"
    rule: SizingRule = SizingRule.PERCENTAGE
    value: float = 100.0
    period: int = 20
    minimum_trades: int = 20
    start: float = 10.0

    @property
    def parameter(self) -> str:
        """Qualified name of its size, for search spaces: such as ``all_in.percentage``."""
        unit = "percentage" if self.rule in OF_EQUITY else self.rule.name.lower()
        return f"{self.name}.{unit}"

    def __post_init__(self) -> None:
        if not self.value > 0.0:
            raise ConfigurationError(
                f"position sizer {self.name!r}: its size must be positive, was {self.value}."
            )

    def require_affordable(self, leverage: float) -> None:
        """Check that a full signal needs no more than the account can hold.

        Raises
        ------
        ConfigurationError
            It is a percentage of equity above what the leverage allows.
        """
        if self.rule is SizingRule.PERCENTAGE and self.value > 100.0 * leverage:
            raise ConfigurationError(
                f"position sizer {self.name!r}: percentage must be at most {100.0 * leverage:g}, was "
                f"{self.value}; an account holds no more than its equity times its leverage ({leverage:g})."
            )


class Protection(msgspec.Struct, frozen=True, kw_only=True):
    """Exits attached to every position, in percent of its average entry price; zero for none.

    ``trailing_stop`` is measured from the best price of the bars since the entry, the entry's own bar
    included, and moves at each bar's end.
    """

    stop_loss: float = 0.0
    take_profit: float = 0.0
    trailing_stop: float = 0.0

    @property
    def parameters(self) -> dict[str, float]:
        """The exits by the names that search spaces use."""
        return {f"risk.{name}": getattr(self, name) for name in self.__struct_fields__}


class RiskLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the account's own rules forbid; zero for no limit.

    Attributes
    ----------
    max_position
        Largest value of one symbol's position, as a fraction of equity; an order beyond it is denied.
    max_leverage
        Largest gross exposure, as a multiple of equity; an order beyond it is denied.
    max_drawdown
        Fraction lost since the highest equity at a close: all positions are closed, and every later order
        that opens one is denied.
    daily_loss
        Fraction lost since the last close of the day before (UTC): the same until the day is over.
    """

    max_position: float = 0.0
    max_leverage: float = 0.0
    max_drawdown: float = 0.0
    daily_loss: float = 0.0
