"""The sessions of exchanges, from the library ``exchange_calendars``, which is an extra."""

import warnings
from functools import lru_cache

import numpy as np
from msgspec import structs

from ...domain.bars import Bars, iso_day
from ...domain.errors import ConfigurationError, DataError, UnknownNameError
from ...domain.events import SessionsLoaded
from ...domain.trading_calendar import require_sessions
from ..configuration.data_section import Calendar

BEFORE, AFTER = 7, 14
"""Days before the first bar and after the last whose sessions are read: across holidays at a month's end."""


def with_sessions(bars: Bars, calendar: Calendar, source: str, first_row: int = 1) -> Bars:
    """Return bars with the sessions of their exchange, in which they must lie; without one as they are.

    Parameters
    ----------
    bars
        At most a day long.
    calendar
        As the library calls it: a market identifier code such as ``XNYS``, or ``24/7``.
    source, first_row
        For messages: the file, and the number that an editor shows beside the first bar.

    Raises
    ------
    ConfigurationError
        The library is not installed.
    UnknownNameError
        It knows no such exchange.
    DataError
        It does not know the exchange's sessions at the time of the bars, or one lies in no session.
    """
    if not calendar.name:
        return bars
    sessions = _sessions(calendar, iso_day(bars.time[0]), iso_day(bars.time[-1]))
    require_sessions(bars, sessions, calendar.name, source, first_row)
    return structs.replace(bars, sessions=sessions)


@lru_cache(maxsize=8)
def _sessions(calendar: Calendar, first: str, last: str) -> SessionsLoaded:
    name, where = calendar
    try:
        import exchange_calendars
        from exchange_calendars.errors import CalendarError
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{where} needs the library exchange_calendars: pip install admf[calendars]"
        ) from error
    known = exchange_calendars.get_calendar_names()
    if name not in known:
        raise UnknownNameError("calendar", name, known, where)
    start, end = np.datetime64(first) - BEFORE, np.datetime64(last) + AFTER
    try:
        with warnings.catch_warnings():
            # The library calls what pandas is going to remove.
            warnings.simplefilter("ignore", DeprecationWarning)
            schedule = exchange_calendars.get_calendar(name, start=str(start), end=str(end)).schedule
    except (CalendarError, ValueError, NotImplementedError) as error:
        # With pandas 3, the library can't compute some calendars at all, such as ASEX.
        raise DataError(
            f"{where}: the sessions of {name} must be known from {first} to {last}, found: {error} "
            "Cut the file, or leave out the calendar."
        ) from error
    closes = schedule["close"].astype("int64").to_numpy()
    breaks = {
        column: np.where(schedule[column].isna(), closes, schedule[column].astype("int64").to_numpy())
        for column in ("break_start", "break_end")
    }
    opens = schedule["open"].astype("int64").to_numpy()
    day = schedule.index.astype("datetime64[ns]").astype("int64").to_numpy()
    return SessionsLoaded(day=day, opens=opens, closes=closes, **breaks)
