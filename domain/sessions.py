"""Features of the session that a bar belongs to. A session is a day in UTC; its open is its first bar.

A bar counts as dated by its beginning: the bars of the first 30 minutes are those that are dated less than 30
minutes after the session's first. A market whose sessions cross midnight in UTC is cut there.
"""

from collections.abc import Callable

import numpy as np

from .bars import DAY, MINUTE
from .compiled import compiled
from .events import Bool, Float64, Int64
from .feature_functions import register_row, table_rows

GROUP = "session"
TABLE = """
session_first_bar | first_bar | time | | flag
    1 at the first bar of the session, else 0.
session_bar | bar | time | | bars
    How many bars of the session came before: 0 at its first.
session_minutes | minutes | time | | minutes
    Minutes since the session's first bar.
session_open | opening | time open | | price
    Open of the session's first bar.
session_high | high | time high | | price
    Highest high of the session so far, this bar's too.
session_low | low | time low | | price
    Lowest low of the session so far, this bar's too.
session_vwap | vwap | time high low close volume | | price
    Mean of the typical price since the session's first bar, by volume; plain until one is traded.
opening_range_high | range_high | time high | minutes=30:1 | price
    Highest high of the session's first minutes, as far as they have passed.
opening_range_low | range_low | time low | minutes=30:1 | price
    Lowest low of the session's first minutes, as far as they have passed.
previous_session_high | previous_high | time high | | price
    Highest high of the session before; no value in the first session.
previous_session_low | previous_low | time low | | price
    Lowest low of the session before; no value in the first session.
previous_session_close | previous_close | time close | | price
    Last close of the session before; no value in the first session.
minute_of_day | minute_of_day | time | | minutes
    Minutes since midnight in UTC.
day_of_week | day_of_week | time | | days
    0 on Monday to 6 on Sunday, in UTC.
month | month | time | | months
    1 in January to 12 in December, in UTC.
"""
_ALWAYS = DAY // MINUTE
_MONDAY = 3  # 1970-01-01 was a Thursday


def _starts(time: Int64) -> Bool:
    """Say of each bar whether it is the first of its session."""
    days = time // DAY
    return np.concatenate((np.ones(min(1, days.size), np.bool_), days[1:] != days[:-1]))


def _first_bars(time: Int64) -> Int64:
    """Return the index of the first bar of each bar's session."""
    return np.maximum.accumulate(np.where(_starts(time), np.arange(time.size), 0))


def _first_bar(time: Int64) -> Float64:
    return _starts(time).astype(np.float64)


def _bar(time: Int64) -> Float64:
    return (np.arange(time.size) - _first_bars(time)).astype(np.float64)


def _minutes(time: Int64) -> Float64:
    return (time - time[_first_bars(time)]) / MINUTE


def _opening(time: Int64, opens: Float64) -> Float64:
    return opens[_first_bars(time)]


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


def _range_high(time: Int64, high: Float64, minutes: int) -> Float64:
    return _highest(_starts(time), _minutes(time), high, float(minutes))


def _range_low(time: Int64, low: Float64, minutes: int) -> Float64:
    return -_range_high(time, -low, minutes)


def _high(time: Int64, high: Float64) -> Float64:
    return _range_high(time, high, _ALWAYS)


def _low(time: Int64, low: Float64) -> Float64:
    return _range_low(time, low, _ALWAYS)


def _vwap(time: Int64, high: Float64, low: Float64, close: Float64, volume: Float64) -> Float64:
    return _average(_starts(time), (high + low + close) / 3.0, volume)


def _previous_high(time: Int64, high: Float64) -> Float64:
    return _before(_starts(time), _high(time, high))


def _previous_low(time: Int64, low: Float64) -> Float64:
    return _before(_starts(time), _low(time, low))


def _previous_close(time: Int64, close: Float64) -> Float64:
    return _before(_starts(time), close)


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
