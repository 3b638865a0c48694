"""How orders become fills: the named policy that every run records.

| choice | values | meaning |
| --- | --- | --- |
| fill | next_open, same_close, next_close | price of an order decided at a bar's close |
| rounding | fraction, floor | quantities as they come, or whole units, rounded toward zero |
| end | mark, close, close_at_open | a last position is kept, or closed at the last close or open |

A reversal is two orders, one that closes and one that opens, at the same price. Quantities are decided at the
price of the fill, from the equity at that instant; the cost of trading comes out of the order's budget. An
account holds no more than its equity buys: there is no margin. ``close_at_open`` goes with ``next_open``
only, since the other fills of the last bar come after its open.
"""

from enum import IntEnum

import msgspec

from .errors import ConfigurationError


class FillPrice(IntEnum):
    """Where an order decided at the close of bar t is filled."""

    NEXT_OPEN = 0
    SAME_CLOSE = 1
    NEXT_CLOSE = 2


class Rounding(IntEnum):
    """Which quantities can be traded."""

    FRACTION = 0
    FLOOR = 1


class EndOfData(IntEnum):
    """What happens to a position at the last bar."""

    MARK = 0
    CLOSE = 1
    CLOSE_AT_OPEN = 2


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """The fill policy of a phase.

    Attributes
    ----------
    fill, rounding, end
        See the table above.
    commission_rate
        Fraction of a fill's value.
    commission_fixed
        Currency, for each fill.
    slippage
        Fraction by which a purchase costs more, and a sale brings less, than the bar's price.
    """

    fill: FillPrice = FillPrice.NEXT_OPEN
    rounding: Rounding = Rounding.FRACTION
    end: EndOfData = EndOfData.MARK
    commission_rate: float = 0.0
    commission_fixed: float = 0.0
    slippage: float = 0.0

    def __post_init__(self) -> None:
        if self.end is EndOfData.CLOSE_AT_OPEN and self.fill is not FillPrice.NEXT_OPEN:
            raise ConfigurationError(
                f"execution: end close_at_open needs fill next_open, was {self.fill.name.lower()}: a fill at "
                "the last close comes after the last open; choose end close or mark."
            )


class SizingRule(IntEnum):
    """What a full signal (exposure 1) buys."""

    PERCENTAGE = 0
    """A percentage of equity."""
    UNITS = 1
    """A number of units."""
    SIZE = 2
    """An amount of currency."""


class Sizer(msgspec.Struct, frozen=True, kw_only=True):
    """A position sizer; ``value`` is in the unit of its rule and scales with the signal's target exposure."""

    name: str = "all_in"
    rule: SizingRule = SizingRule.PERCENTAGE
    value: float = 100.0

    @property
    def parameter(self) -> str:
        """Qualified name of its size, for search spaces: such as ``all_in.percentage``."""
        return f"{self.name}.{self.rule.name.lower()}"

    def __post_init__(self) -> None:
        if not self.value > 0.0:
            raise ConfigurationError(
                f"position sizer {self.name!r}: its size must be positive, was {self.value}."
            )
        if self.rule is SizingRule.PERCENTAGE and self.value > 100.0:
            raise ConfigurationError(
                f"position sizer {self.name!r}: percentage must be at most 100, was {self.value}; "
                "an account without margin holds no more than its equity."
            )
