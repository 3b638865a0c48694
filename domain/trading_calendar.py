"""The sessions of an exchange: which bars lie in one, and which sessions have no bars."""

from typing import NamedTuple

import numpy as np

from .bars import DAY, Bars, iso_day, iso_time, more_rows, parse_timeframe
from .errors import ConfigurationError, DataError
from .events import Bool, Int64


class TradingCalendar(NamedTuple):
    """Sessions, oldest first; all times are nanoseconds since 1970 in UTC.

    Attributes
    ----------
    name
        Of the exchange, such as ``XNYS``.
    day
        Midnight of the day by which each session is called.
    opens, closes
        When it begins and ends.
    break_start, break_end
        A break inside of it; both its close where there is none.
    """

    name: str
    day: Int64
    opens: Int64
    closes: Int64
    break_start: Int64
    break_end: Int64

    def sessions(self, bars: Bars) -> Int64:
        """Return the number of the session that each bar lies in, -1 for none.

        A bar shorter than a day is dated by its beginning, which must not come before the session's open, nor
        at its close or later, nor in its break. Of a bar of one day, the date in UTC must be that of a
        session.

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
        starts = self.day if duration == DAY else self.opens
        session = np.searchsorted(starts, bars.time, side="right") - 1
        known = np.maximum(session, 0)
        if duration == DAY:
            inside = bars.time // DAY * DAY == self.day[known]
        else:
            pause = (bars.time >= self.break_start[known]) & (bars.time < self.break_end[known])
            inside = (bars.time < self.closes[known]) & ~pause
        return np.where(inside & (session >= 0), session, -1)

    def anchors(self, time: Int64, session: Int64) -> Int64:
        """Return when the part of the session begins that a time lies in: its open, or the end of a break."""
        late = time >= self.break_end[session]
        return np.where(late, self.break_end[session], self.opens[session])


def require_sessions(bars: Bars, calendar: TradingCalendar, source: str, first_row: int = 1) -> None:
    """Refuse bars that lie in no session.

    Parameters
    ----------
    bars, calendar
        The calendar must reach from the first bar to the last.
    source, first_row
        For messages: the file, and the number that an editor shows beside the first bar.

    Raises
    ------
    DataError
        Names the first bar outside, what the exchange did then, and counts the others.
    """
    outside: Bool = calendar.sessions(bars) < 0
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"{source}, row {first_row + row}, {iso_time(bars.time[row])}: a bar must be dated inside of a "
            f"session of {calendar.name}, found {_situation(calendar, int(bars.time[row]))}"
            f"{more_rows(outside)}. Remove the row, or state another calendar; bars are dated by their "
            "beginning, in UTC."
        )


def missing_sessions(bars: Bars, calendar: TradingCalendar) -> list[str]:
    """Return the days of the sessions, from the first bar to the last, that have no bar."""
    found = np.unique(calendar.sessions(bars))
    if not found.size:
        return []
    expected = np.arange(found[0], found[-1] + 1)
    return [iso_day(calendar.day[session]) for session in np.setdiff1d(expected, found)]


def _situation(calendar: TradingCalendar, time: int) -> str:
    session = int(np.searchsorted(calendar.day, time // DAY * DAY))
    if session == calendar.day.size or calendar.day[session] != time // DAY * DAY:
        return f"none on {iso_day(time)}"
    hours = f"{iso_time(calendar.opens[session])} to {iso_time(calendar.closes[session])}"
    if calendar.break_start[session] < calendar.break_end[session]:
        pause = f"{iso_time(calendar.break_start[session])} to {iso_time(calendar.break_end[session])}"
        hours += f" with a break from {pause}"
    return f"one from {hours}"
