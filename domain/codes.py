"""What codes in events mean: the small integers in columns, and the stages of a phase."""

from enum import IntEnum, StrEnum


class Segment(IntEnum):
    """The part of the data that a container trades on."""

    WHOLE = 0
    TRAIN = 1
    TEST = 2
    STITCHED = 3
    """Test windows one after the other, in one account."""


class DenialRule(IntEnum):
    """Why our own rules refused an order."""

    NO_EQUITY = 1
    """The account's equity is zero or less."""
    BELOW_ONE_UNIT = 2
    """The order's budget buys less than the smallest quantity that the rounding rule allows."""
    INSUFFICIENT_FUNDS = 3
    """The order would cost more than the account's equity, times its leverage, leaves."""
    MAX_POSITION = 4
    """The position would be larger than the risk limit allows."""
    MAX_LEVERAGE = 5
    """The gross exposure would be larger than the risk limit allows."""
    MAX_DRAWDOWN = 6
    """Trading was halted when the drawdown reached the risk limit."""
    DAILY_LOSS = 7
    """Trading was halted for the rest of the day when its loss reached the risk limit."""
    NO_VOLATILITY = 8
    """The sizing rule needs a volatility, and there is none yet or it is zero."""
    NO_EDGE = 9
    """The Kelly fraction of the trades so far is zero or less."""


class OrderType(IntEnum):
    """How an order is to be filled, or what made the account place it."""

    MARKET = 0
    LIMIT = 1
    STOP = 2
    STOP_LIMIT = 3
    STOP_LOSS = 4
    """The exit of a position at its stop."""
    TAKE_PROFIT = 5
    """The exit of a position at its target."""
    TRAILING_STOP = 6
    """The exit of a position at the stop that followed its best price."""
    MARGIN_CALL = 7
    """The exit of every position when equity fell below the maintenance margin."""
    RISK_HALT = 8
    """The exit of every position when a risk limit halted trading."""
    END_OF_DATA = 9
    """The exit of a position at the last bar."""


class CancelReason(IntEnum):
    """Why an order, or what was left of it, never became a fill."""

    END_OF_DATA = 1
    """The bars ended before it could be filled."""
    REPLACED = 2
    """The target changed before it could be filled."""
    POSITION_CLOSED = 3
    """Another order closed the position that it was to reduce or enlarge."""


class Stage(StrEnum):
    """The execution stages inside a phase."""

    INITIALIZATION = "initialization"
    DATA_PREPARATION = "data_preparation"
    COMPUTATION = "computation"
    VALIDATION = "validation"
    AGGREGATION = "aggregation"
    FINALIZATION = "finalization"
