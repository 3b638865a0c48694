"""The sessions of an exchange: which bars lie in one, and which sessions have no bars.

All times of `SessionsLoaded` are nanoseconds since 1970 in UTC, oldest session first: ``day`` is midnight of
the day by which the session is called, ``opens`` and ``closes`` when it begins and ends, ``break_start`` and
``break_end`` a break inside of it, both at its close where there is none.
"""

import numpy as np

from .bars import DAY, Bars, iso_day, iso_time, more_rows, parse_timeframe
from .errors import ConfigurationError, DataError
from .events import Bool, Int64, SessionsLoaded


def session_numbers(bars: Bars, sessions: SessionsLoaded) -> Int64:
    """Return the number of the session that each bar lies in, -1 for none.

    A bar shorter than a day is dated by its beginning, which must not come before the session's open, nor at
    its close or later, nor in its break. Of a bar of one day, the date in UTC must be that of a session.

    Raises
    ------
    ConfigurationError
        The bars are longer than a day.
    """
    duration = parse_timeframe(bars.timeframe).duration
    if duration is None or duration > DAY:
        raise ConfigurationError(
            f"{bars.symbol}: a calendar needs bars of at most a day, found {bars.timeframe}. "
            "Leave out `calendar`, or state the timeframe that the file has."
        )
    starts = sessions.day if duration == DAY else sessions.opens
    session = np.searchsorted(starts, bars.time, side="right") - 1
    known = np.maximum(session, 0)
    if duration == DAY:
        inside = bars.time // DAY * DAY == sessions.day[known]
    else:
        pause = (bars.time >= sessions.break_start[known]) & (bars.time < sessions.break_end[known])
        inside = (bars.time < sessions.closes[known]) & ~pause
    return np.where(inside & (session >= 0), session, -1)


def sessions_of(bars: Bars) -> Int64:
    """Return a number of the session of each bar: of its exchange, or the day in UTC where none is known."""
    return bars.time // DAY if bars.sessions is None else session_numbers(bars, bars.sessions)


def require_sessions(
    bars: Bars, sessions: SessionsLoaded, calendar: str, source: str, first_row: int = 1
) -> None:
    """Refuse bars that lie in no session.

    Parameters
    ----------
    bars, sessions
        The sessions must reach from the first bar to the last.
    calendar, source, first_row
        For messages: the name of the calendar, the file, and the number that an editor shows beside the first
        bar.

    Raises
    ------
    DataError
        Names the first bar outside, what the exchange did then, and counts the others.
    """
    outside: Bool = session_numbers(bars, sessions) < 0
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"{source}, row {first_row + row}, {iso_time(bars.time[row])}: a bar must be dated inside of a "
            f"session of {calendar}, found {_situation(sessions, int(bars.time[row]))}"
            f"{more_rows(outside)}. Remove the row, or state another calendar; bars are dated by their "
            "beginning, in UTC."
        )


def missing_sessions(bars: Bars, sessions: SessionsLoaded) -> list[str]:
    """Return the days of the sessions, from the first bar to the last, that have no bar."""
    found = np.unique(session_numbers(bars, sessions))
    if not found.size:
        return []
    expected = np.arange(found[0], found[-1] + 1)
    return [iso_day(sessions.day[session]) for session in np.setdiff1d(expected, found)]


def _situation(sessions: SessionsLoaded, time: int) -> str:
    session = int(np.searchsorted(sessions.day, time // DAY * DAY))
    if session == sessions.day.size or sessions.day[session] != time // DAY * DAY:
        return f"none on {iso_day(time)}"
    hours = f"{iso_time(sessions.opens[session])} to {iso_time(sessions.closes[session])}"
    if sessions.break_start[session] < sessions.break_end[session]:
        pause = f"{iso_time(sessions.break_start[session])} to {iso_time(sessions.break_end[session])}"
        hours += f" with a break from {pause}"
    return f"one from {hours}"
