"""Trading calendars of exchanges, from the library ``exchange_calendars``, which is an extra."""

import warnings
from functools import lru_cache

import numpy as np

from ...domain.bars import Bars, iso_day
from ...domain.errors import ConfigurationError, DataError, UnknownNameError
from ...domain.trading_calendar import TradingCalendar


def trading_calendar(name: str, bars: Bars) -> TradingCalendar:
    """Return the sessions of an exchange around bars.

    Parameters
    ----------
    name
        As the library calls it: a market identifier code such as ``XNYS``, or ``24/7``.
    bars
        The sessions reach from some days before the first to some days after the last.

    Raises
    ------
    ConfigurationError
        The library is not installed.
    UnknownNameError
        It knows no such exchange.
    DataError
        It does not know the exchange's sessions at the time of the bars.
    """
    return _sessions(name, iso_day(bars.time[0]), iso_day(bars.time[-1]))


@lru_cache(maxsize=8)
def _sessions(name: str, first: str, last: str) -> TradingCalendar:
    try:
        import exchange_calendars
        from exchange_calendars.errors import CalendarError
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "data.calendar needs the library exchange_calendars: pip install admf[calendars]"
        ) from error
    known = exchange_calendars.get_calendar_names()
    if name not in known:
        raise UnknownNameError("calendar", name, known, "data.calendar")
    start, end = (np.datetime64(day) + days for day, days in ((first, -7), (last, 7)))
    try:
        with warnings.catch_warnings():
            # The library calls what pandas is going to remove.
            warnings.simplefilter("ignore", DeprecationWarning)
            schedule = exchange_calendars.get_calendar(name, start=str(start), end=str(end)).schedule
    except (CalendarError, ValueError) as error:
        raise DataError(
            f"data.calendar: the sessions of {name} must be known from {first} to {last}, found: {error} "
            "State a later `data.start`, cut the file, or leave out the calendar."
        ) from error
    closes = schedule["close"].astype("int64").to_numpy()
    breaks = {
        column: np.where(schedule[column].isna(), closes, schedule[column].astype("int64").to_numpy())
        for column in ("break_start", "break_end")
    }
    opens = schedule["open"].astype("int64").to_numpy()
    day = schedule.index.astype("datetime64[ns]").astype("int64").to_numpy()
    return TradingCalendar(name, day, opens, closes, breaks["break_start"], breaks["break_end"])
