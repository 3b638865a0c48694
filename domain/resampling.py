"""Bars of a coarser timeframe, made of finer ones.

A coarser bar holds the finer ones that begin in its span; it is dated by the beginning of that span, as all
bars are. Since a simulation acts on a bar at its close, which is the close of the last bar in it, nothing is
known before it has happened: resampling a prefix of bars gives the same bars but for the last, which is not
complete yet.

Where bars belong to the sessions of an exchange, spans follow these. Those shorter than a day are counted
from the open of each session, and from the end of its break; the last one ends with the session, or at its
break, however short it is by then. Longer ones hold whole sessions, by the days that these are called by,
even if they begin the evening before: a day is one session, dated by midnight of its day, and ends at its
close, be it early; a week ends with the close of its last session.

Without sessions, days are those of UTC, and shorter spans are counted from midnight. Weeks begin on Mondays,
several months in January.
"""

from typing import NamedTuple

import numpy as np

from .bars import DAY, WEEK, Bars, Timeframe, bars_from, iso_time, parse_timeframe
from .errors import ConfigurationError, DataError
from .events import BarsLoaded, Float64, Int64, SessionsLoaded
from .trading_calendar import session_numbers

MONDAY = 4 * DAY
"""The first Monday since 1970."""
NEVER = np.iinfo(np.int64).max


def resampled(bars: Bars, timeframe: str) -> Bars:
    """Aggregate bars to a coarser timeframe: first open, highest high, lowest low, last close, sum of volume.

    They keep their sessions, unless they become longer than a day.

    Parameters
    ----------
    bars
        The finer bars.
    timeframe
        The coarser one: a multiple of theirs.

    Raises
    ------
    ConfigurationError
        The timeframe is not a multiple of that of the bars.
    """
    return _aggregated(bars, _spans(bars, timeframe), timeframe)


def _aggregated(bars: Bars, spans: Int64, timeframe: str) -> Bars:
    starts = np.flatnonzero(np.diff(spans, prepend=spans[0] - 1))
    ends = np.append(starts[1:], len(bars)) - 1
    columns = BarsLoaded(
        time=spans[starts],
        open=bars.open[starts],
        high=np.maximum.reduceat(bars.high, starts),
        low=np.minimum.reduceat(bars.low, starts),
        close=bars.close[ends],
        volume=np.add.reduceat(bars.volume, starts),
    )
    duration = parse_timeframe(timeframe).duration
    lasting = duration is None or duration > DAY
    return bars_from(columns, bars.symbol, timeframe, None if lasting else bars.sessions)


class Coarser(NamedTuple):
    """Bars of a coarser timeframe beside finer ones, and when each is known.

    Attributes
    ----------
    bars
        The coarser bars.
    known
        Per finer bar: the number of the last coarser bar that is complete at its close, -1 before the first.
        One is complete once a finer bar in it lasts to the end of its span, or one after it has come.
    """

    bars: Bars
    known: Int64

    def stretched(self, values: Float64) -> Float64:
        """Return values of coarser bars at the finer bars, as they are known there; NaN before the first."""
        return np.where(self.known >= 0, values[np.maximum(self.known, 0)], np.nan)


def coarser(bars: Bars, timeframe: str) -> Coarser:
    """Resample bars, and tell at which of them each coarser bar is known.

    Raises
    ------
    ConfigurationError
        The timeframe is not a multiple of that of the bars.
    DataError
        A bar begins in a span that one before it has lasted to the end of, so that the timeframe of the bars
        is wrong, and it can't be told when a span ends.
    """
    spans = _spans(bars, timeframe)
    coarse = _aggregated(bars, spans, timeframe)
    own = np.cumsum(np.diff(spans, prepend=spans[0]) != 0)
    closes = _closes(coarse.time, timeframe, bars.sessions)
    complete = _closes(bars.time, bars.timeframe, bars.sessions) >= closes[own]
    late = complete[:-1] & (own[1:] == own[:-1])
    if late.any():
        bar = int(np.argmax(late))
        raise DataError(
            f"{bars.symbol}: the bar of {bars.timeframe} at {iso_time(bars.time[bar])} lasts to the end of "
            f"its {timeframe}, but another one follows there at {iso_time(bars.time[bar + 1])}. "
            "Correct `timeframe`."
        )
    return Coarser(coarse, np.where(complete, own, own - 1))


def _closes(starts: Int64, timeframe: str, sessions: SessionsLoaded | None) -> Int64:
    """Return when bars close that begin at these times."""
    parsed = parse_timeframe(timeframe)
    ends = _ends(starts, parsed)
    if sessions is None:
        return ends
    if parsed.duration is not None and parsed.duration < DAY:
        session = np.searchsorted(sessions.opens, starts, side="right") - 1
        pause = sessions.break_start[session]
        return np.minimum(ends, np.where(starts < pause, pause, sessions.closes[session]))
    # Bars of days may be dated by any time of their day.
    following = np.searchsorted(sessions.day, _ends(starts // DAY * DAY, parsed))
    # Which session is the last of a week is known only as far as the sessions after it are.
    known = (following < sessions.day.size) | (parsed.duration == DAY)
    return np.where(known, sessions.closes[following - 1], NEVER)


def _ends(starts: Int64, timeframe: Timeframe) -> Int64:
    """Return when spans end that begin at these times."""
    if timeframe.duration is not None:
        return starts + timeframe.duration
    months = starts.astype("datetime64[ns]").astype("datetime64[M]") + _months(timeframe)
    return months.astype("datetime64[ns]").astype(np.int64)


def _require_multiple(finer: Timeframe, coarser: Timeframe) -> None:
    if finer.duration is None or coarser.duration is None:
        fits = coarser.duration is None and (
            _months(coarser) % _months(finer) == 0 if finer.duration is None else DAY % finer.duration == 0
        )
    else:
        fits = coarser.duration % finer.duration == 0
    if not fits or finer.duration == coarser.duration:
        raise ConfigurationError(
            f"bars can be resampled to a multiple of their timeframe, {finer.name}; {coarser.name} is none."
        )


def _spans(bars: Bars, timeframe: str) -> Int64:
    """Return the beginning of the span of each bar."""
    coarser = parse_timeframe(timeframe)
    _require_multiple(parse_timeframe(bars.timeframe), coarser)
    time, sessions = bars.time, bars.sessions
    anchors = time // DAY * DAY
    if sessions is not None:
        session = session_numbers(bars, sessions)
        late = time >= sessions.break_end[session]
        anchors = np.where(late, sessions.break_end[session], sessions.opens[session])
        if coarser.duration is None or coarser.duration >= DAY:
            time = sessions.day[session]
    if coarser.duration is None:
        months = time.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
        firsts = (months // _months(coarser) * _months(coarser)).astype("datetime64[M]")
        return firsts.astype("datetime64[ns]").astype(np.int64)
    if coarser.duration < DAY:
        return anchors + (time - anchors) // coarser.duration * coarser.duration
    offset = MONDAY if coarser.duration % WEEK == 0 else 0
    return (time - offset) // coarser.duration * coarser.duration + offset


def _months(timeframe: Timeframe) -> int:
    return int(timeframe.name.removesuffix("mo"))
