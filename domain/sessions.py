"""Features of the session that a bar belongs to: that of its exchange, or a day in UTC where none is known.

The open of a session is its first bar. A bar counts as dated by its beginning: the bars of the first 30
minutes are those that are dated less than 30 minutes after the session's first.
"""

from collections.abc import Callable

import numpy as np

from .bars import DAY, MINUTE
from .compiled import compiled
from .events import Bool, Float64, Int64
from .feature_functions import register_row, table_rows

GROUP = "session"
TABLE = """
session_first_bar | first_bar | session | | flag
    1 at the first bar of the session, else 0.
session_bar | bar | session | | bars
    How many bars of the session came before: 0 at its first.
session_minutes | minutes | session time | | minutes
    Minutes since the session's first bar.
session_open | opening | session open | | price
    Open of the session's first bar.
session_high | high | session high | | price
    Highest high of the session so far, this bar's too.
session_low | low | session low | | price
    Lowest low of the session so far, this bar's too.
session_vwap | vwap | session high low close volume | | price
    Mean of the typical price since the session's first bar, by volume; plain until one is traded.
opening_range_high | range_high | session time high | minutes=30:1 | price
    Highest high of the session's first minutes, as far as they have passed.
opening_range_low | range_low | session time low | minutes=30:1 | price
    Lowest low of the session's first minutes, as far as they have passed.
previous_session_high | previous_high | session high | | price
    Highest high of the session before; no value in the first session.
previous_session_low | previous_low | session low | | price
    Lowest low of the session before; no value in the first session.
previous_session_close | previous_close | session close | | price
    Last close of the session before; no value in the first session.
minute_of_day | minute_of_day | time | | minutes
    Minutes since midnight in UTC.
day_of_week | day_of_week | time | | days
    0 on Monday to 6 on Sunday, in UTC.
month | month | time | | months
    1 in January to 12 in December, in UTC.
"""
_MONDAY = 3  # 1970-01-01 was a Thursday


def _starts(session: Int64) -> Bool:
    """Say of each bar whether it is the first of its session."""
    return np.concatenate((np.ones(min(1, session.size), np.bool_), session[1:] != session[:-1]))


def _first_bars(session: Int64) -> Int64:
    """Return the index of the first bar of each bar's session."""
    return np.maximum.accumulate(np.where(_starts(session), np.arange(session.size), 0))


def _first_bar(session: Int64) -> Float64:
    return _starts(session).astype(np.float64)


def _bar(session: Int64) -> Float64:
    return (np.arange(session.size) - _first_bars(session)).astype(np.float64)


def _minutes(session: Int64, time: Int64) -> Float64:
    return (time - time[_first_bars(session)]) / MINUTE


def _opening(session: Int64, opens: Float64) -> Float64:
    return opens[_first_bars(session)]


@compiled
def _highest(starts: Bool, minutes: Float64, values: Float64, until: float) -> Float64:
    result = np.empty(values.size)
    for t in range(values.size):
        if starts[t]:
            result[t] = values[t]
        else:
            result[t] = max(result[t - 1], values[t]) if minutes[t] < until else result[t - 1]
    return result


@compiled
def _before(starts: Bool, values: Float64) -> Float64:
    result = np.full(values.size, np.nan)
    for t in range(1, values.size):
        result[t] = values[t - 1] if starts[t] else result[t - 1]
    return result


@compiled
def _average(starts: Bool, values: Float64, weights: Float64) -> Float64:
    result = np.empty(values.size)
    weighted = weight = plain = 0.0
    count = 0
    for t in range(values.size):
        if starts[t]:
            weighted = weight = plain = 0.0
            count = 0
        weighted += values[t] * weights[t]
        weight += weights[t]
        plain += values[t]
        count += 1
        result[t] = weighted / weight if weight > 0.0 else plain / count
    return result


def _range_high(session: Int64, time: Int64, high: Float64, minutes: int) -> Float64:
    return _highest(_starts(session), _minutes(session, time), high, float(minutes))


def _range_low(session: Int64, time: Int64, low: Float64, minutes: int) -> Float64:
    return -_range_high(session, time, -low, minutes)


def _high(session: Int64, high: Float64) -> Float64:
    return _highest(_starts(session), np.zeros(high.size), high, 1.0)


def _low(session: Int64, low: Float64) -> Float64:
    return -_high(session, -low)


def _vwap(session: Int64, high: Float64, low: Float64, close: Float64, volume: Float64) -> Float64:
    return _average(_starts(session), (high + low + close) / 3.0, volume)


def _previous_high(session: Int64, high: Float64) -> Float64:
    return _before(_starts(session), _high(session, high))


def _previous_low(session: Int64, low: Float64) -> Float64:
    return _before(_starts(session), _low(session, low))


def _previous_close(session: Int64, close: Float64) -> Float64:
    return _before(_starts(session), close)


def _minute_of_day(time: Int64) -> Float64:
    return (time % DAY) / MINUTE


def _day_of_week(time: Int64) -> Float64:
    return ((time // DAY + _MONDAY) % 7).astype(np.float64)


def _month(time: Int64) -> Float64:
    months = time.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    return (months % 12 + 1).astype(np.float64)


FUNCTIONS: dict[str, Callable[..., Float64]] = {
    "first_bar": _first_bar,
    "bar": _bar,
    "minutes": _minutes,
    "opening": _opening,
    "high": _high,
    "low": _low,
    "vwap": _vwap,
    "range_high": _range_high,
    "range_low": _range_low,
    "previous_high": _previous_high,
    "previous_low": _previous_low,
    "previous_close": _previous_close,
    "minute_of_day": _minute_of_day,
    "day_of_week": _day_of_week,
    "month": _month,
}

for _row in table_rows(TABLE):
    register_row(_row, FUNCTIONS[_row.source], GROUP)
