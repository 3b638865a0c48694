"""Bars of one symbol in one timeframe, and the rules that they must satisfy."""

import re
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

import msgspec
import numpy as np

from .errors import ConfigurationError, DataError
from .events import BarsLoaded, Bool, Float64, Int64, SessionsLoaded

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK, "mo": None}
_TRADING_DAYS = 252
_SESSION = 6.5 * HOUR
_EPOCH = date(1970, 1, 1).toordinal()
_LONGEST_CLOSURE = 4 * DAY
_BLOCK = 65_536
"""Bars that are checked at a time: their columns stay in the processor's cache."""


class Timeframe(msgspec.Struct, frozen=True):
    """The spacing of bars.

    Attributes
    ----------
    name
        As written in a configuration, such as ``1d``.
    duration
        Nominal length of a bar in nanoseconds; None for months, which differ in length.
    bars_per_year
        By which per-bar statistics are annualized: of a market with 252 trading days a year and sessions of
        6.5 hours, so 252 for ``1d``, 52 for ``1w``, 12 for ``1mo``, 1638 for ``1h`` and 98280 for ``1m``.
        A market that trades around the clock has more; whoever knows better states it in the metrics.
    """

    name: str
    duration: int | None
    bars_per_year: float


def parse_timeframe(name: str) -> Timeframe:
    """Read a timeframe: a count and a unit, one of s, m (minutes), h, d, w, mo (months).

    Raises
    ------
    ConfigurationError
        If ``name`` has another form. Case matters: elsewhere ``1M`` is a month.
    """
    match = re.fullmatch(r"([1-9]\d{0,3})(s|mo|m|h|d|w)", name)
    if match is None:
        raise ConfigurationError(
            f"a timeframe must be a count and a unit, found {name!r}. "
            "Write seconds as 30s, minutes as 5m, hours as 1h, days as 1d, weeks as 1w, months as 1mo."
        )
    count, unit = int(match[1]), match[2]
    length = _UNITS[unit]
    if length is None:
        return Timeframe(name, None, 12 / count)
    if length == WEEK:
        return Timeframe(name, count * WEEK, 52 / count)
    per_year = _TRADING_DAYS if length == DAY else _TRADING_DAYS * _SESSION / length
    return Timeframe(name, count * length, per_year / count)


class Window(msgspec.Struct, frozen=True):
    """The bars from index ``first`` up to, and without, index ``stop``."""

    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first


class Bars(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Bars of one symbol, oldest first, that keep the rules of `checked_bars`.

    Attributes
    ----------
    symbol, timeframe
        As configured.
    time
        When each bar is dated, in nanoseconds since 1970 in UTC; strictly increasing.
    prices
        Opens, highs, lows, closes and volumes, shape (5, n_bars). Its rows, which are the columns of that
        name, and the times are read-only and contiguous.
    sessions
        Those of the exchange, from before the first bar to after the last, where a calendar is configured and
        bars are not longer than a day; each bar lies in one.
    """

    symbol: str
    timeframe: str
    time: Int64
    prices: Float64
    sessions: SessionsLoaded | None = None

    def __len__(self) -> int:
        return len(self.time)

    @property
    def open(self) -> Float64:
        """The first price of each bar."""
        return self._row(0)

    @property
    def high(self) -> Float64:
        """The highest price of each bar."""
        return self._row(1)

    @property
    def low(self) -> Float64:
        """The lowest price of each bar."""
        return self._row(2)

    @property
    def close(self) -> Float64:
        """The last price of each bar."""
        return self._row(3)

    @property
    def volume(self) -> Float64:
        """How much was traded in each bar."""
        return self._row(4)

    def _row(self, number: int) -> Float64:
        row: Float64 = self.prices[number]
        return row

    def head(self, stop: int) -> "Bars":
        """Give the bars before index ``stop``, as views.

        Raises
        ------
        DataError
            If there are fewer than ``stop`` bars, or ``stop`` is negative.
        """
        if not 0 <= stop <= len(self):
            raise DataError(
                f"{self.symbol}: the first {stop} bars were asked for, but there are {len(self)}."
            )
        return Bars(
            symbol=self.symbol,
            timeframe=self.timeframe,
            time=self.time[:stop],
            prices=self.prices[:, :stop],
            sessions=self.sessions,
        )

    def window(self, start: date | None = None, end: date | None = None) -> Window:
        """Find the bars that are dated from ``start`` to ``end``.

        Both days are included as a whole, in UTC; None means no bound.

        Raises
        ------
        DataError
            If no bar lies between them.
        """
        return window_of(self.time, self.symbol, start, end)


def window_of(time: Int64, name: str, start: date | None = None, end: date | None = None) -> Window:
    """Find the times from ``start`` to ``end``; see `Bars.window`. ``name`` is what messages call them."""
    first = 0 if start is None else int(np.searchsorted(time, _midnight(start)))
    stop = time.size if end is None else int(np.searchsorted(time, _midnight(end) + DAY))
    if first >= stop:
        span = f"from {iso_time(time[0])} to {iso_time(time[-1])}" if time.size else "none"
        raise DataError(
            f"{name}: a window must hold at least one bar, found none from {start or 'the first'} "
            f"to {end or 'the last'}; there are bars {span}. Choose dates within them."
        )
    return Window(first, stop)


def iso_time(time: int | np.int64) -> str:
    """Write nanoseconds since 1970 as ISO 8601 in UTC, without the time of day where that is midnight."""
    unit = "D" if time % DAY == 0 else "s" if time % SECOND == 0 else "ns"
    return str(np.datetime64(int(time), "ns").astype(f"datetime64[{unit}]"))


def iso_day(time: int | np.int64) -> str:
    """Write the day of a time as ISO 8601 in UTC."""
    return str(np.datetime64(int(time), "ns").astype("datetime64[D]"))


def _midnight(day: date) -> int:
    return (day.toordinal() - _EPOCH) * DAY


def bars_loaded(bars: Bars) -> BarsLoaded:
    """Make the event that stores ``bars``."""
    return BarsLoaded(
        time=bars.time, open=bars.open, high=bars.high, low=bars.low, close=bars.close, volume=bars.volume
    )


def bars_from(event: BarsLoaded, symbol: str, timeframe: str, sessions: SessionsLoaded | None = None) -> Bars:
    """Make bars of the events that stored them, without checking them again; prices are copied."""
    time = np.ascontiguousarray(event.time).view()
    prices = np.stack((event.open, event.high, event.low, event.close, event.volume))
    time.flags.writeable = prices.flags.writeable = False
    return Bars(symbol=symbol, timeframe=timeframe, time=time, prices=prices, sessions=sessions)


def checked_bars(
    columns: BarsLoaded, *, symbol: str, timeframe: str, source: str, first_row: int = 1
) -> Bars:
    """Accept columns as bars, or refuse them.

    Every number is finite; prices are above zero and volume is not below it; the high is the highest and the
    low the lowest price of its bar; times increase strictly. Nothing is repaired, dropped or sorted.

    Parameters
    ----------
    columns
        Arrays of equal length.
    source, first_row
        For messages: the file, and the number that an editor shows beside the first bar.

    Raises
    ------
    DataError
        If there are no bars, or a rule is broken: names the first row that breaks it and counts the others.
    """
    if not len(columns.time):
        raise DataError(
            f"{source}: there must be at least one bar, found none. Use a file that has data rows."
        )
    bars = bars_from(columns, symbol, timeframe)
    if not _all_sound(bars):
        _refuse(bars, source, first_row)
    _check_order(bars.time, source, first_row)
    return bars


def _all_sound(bars: Bars) -> bool:
    """Say in few comparisons, which are false for NaN, whether no rule is broken."""
    for start in range(0, len(bars), _BLOCK):
        opens, highs, lows, closes, volumes = bars.prices[:, start : start + _BLOCK]
        sound = lows > 0
        for rule in (
            lows <= opens,
            lows <= closes,
            highs >= opens,
            highs >= closes,
            highs < np.inf,
            volumes >= 0,
            volumes < np.inf,
        ):
            sound &= rule
        if not sound.all():
            return False
    return True


def _refuse(bars: Bars, source: str, first_row: int) -> None:
    for rule in _rules(bars):
        if rule.broken.any():
            row = int(np.argmax(rule.broken))
            found = " and ".join(f"{name} {values[row]:.10g}" for name, values in rule.found.items())
            raise DataError(
                f"{source}, row {first_row + row}, {iso_time(bars.time[row])}: {rule.text}, "
                f"found {found}{more_rows(rule.broken)}. Correct the row or remove it."
            )


class _Rule(NamedTuple):
    text: str
    broken: Bool
    found: dict[str, Float64]


def _rules(bars: Bars) -> Iterator[_Rule]:
    high, low, volume = bars.high, bars.low, bars.volume
    prices = {"open": bars.open, "high": high, "low": low, "close": bars.close}
    for name, values in (prices | {"volume": volume}).items():
        yield _Rule(f"{name} must be a finite number", ~np.isfinite(values), {name: values})
    for name, values in prices.items():
        yield _Rule(f"{name} must be above zero", values <= 0, {name: values})
    yield _Rule("volume must not be negative", volume < 0, {"volume": volume})
    yield _Rule("high must not be below low", high < low, {"high": high, "low": low})
    for name in ("open", "close"):
        values = prices[name]
        yield _Rule(f"high must not be below {name}", high < values, {"high": high, name: values})
        yield _Rule(f"low must not be above {name}", low > values, {"low": low, name: values})


def _check_order(time: Int64, source: str, first_row: int) -> None:
    late = time[1:] <= time[:-1]
    if not late.any():
        return
    before = int(np.argmax(late))
    same = time[before + 1] == time[before]
    kind = "duplicate" if same else "unsorted"
    remedy = "Remove one of the two rows." if same else "Sort the rows, oldest first."
    raise DataError(
        f"{source}, row {first_row + before + 1}: {kind} time: each must be later than the one before, "
        f"found {iso_time(time[before + 1])} after {iso_time(time[before])}{more_rows(late)}. {remedy}"
    )


def more_rows(broken: Bool) -> str:
    """Say how many rows besides the first are broken, for the end of a message."""
    more = int(np.count_nonzero(broken)) - 1
    return f" (and {more} more row{'s' if more > 1 else ''} like it)" if more else ""


class Gap(msgspec.Struct, frozen=True):
    """Bars that seem to be missing between two neighbours.

    Attributes
    ----------
    previous_time, next_time
        Of the two neighbours, in nanoseconds since 1970 in UTC.
    missing
        Number of bars that would have filled it, an estimate where it spans days.
    """

    previous_time: int
    next_time: int
    missing: int


def gaps(bars: Bars) -> tuple[Gap, ...]:
    """Find where bars seem to be missing. A gap deserves a warning: without a calendar it is no proof.

    - Months: a calendar month has no bar.
    - Bars of a day or longer: neighbours lie more than four days further apart than the timeframe says, thus
      more than five days for ``1d``. Weekends and holidays are none. Missing bars are counted on weekdays.
    - Intraday bars: neighbours on the same UTC day lie further apart than the timeframe says, so that a lunch
      break is a gap too. A night is none; more than five days are, of the median number of bars a day.
    """
    duration = parse_timeframe(bars.timeframe).duration
    if duration is None:
        missing = _missing_months(bars)
    elif _widest(bars.time) <= duration:
        return ()
    elif duration >= DAY:
        days = duration // DAY
        missing = _missing_weekdays(bars.time, duration) // min(days, max(5, days * 5 // 7))
    else:
        missing = _missing_intraday(bars.time, duration)
    return tuple(
        Gap(int(bars.time[index]), int(bars.time[index + 1]), int(missing[index]))
        for index in np.flatnonzero(missing > 0)
    )


def _widest(time: Int64) -> int:
    """Return the largest distance of neighbours."""
    steps = (np.diff(time[start : start + _BLOCK + 1]) for start in range(0, time.size, _BLOCK))
    return max(int(step.max(initial=0)) for step in steps)


def _missing_months(bars: Bars) -> Int64:
    count = int(bars.timeframe.removesuffix("mo"))
    months = bars.time.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    missing: Int64 = np.diff(months) // count - 1
    return missing


def _missing_weekdays(time: Int64, duration: int) -> Int64:
    missing = np.zeros(max(time.size - 1, 0), np.int64)
    wide = np.flatnonzero(np.diff(time) > duration + _LONGEST_CLOSURE)
    dates = (time // DAY).astype("datetime64[D]")
    missing[wide] = np.busday_count(dates[wide] + 1, dates[wide + 1])
    return missing


def _missing_intraday(time: Int64, duration: int) -> Int64:
    days = time // DAY
    ends = np.flatnonzero(np.diff(days, append=days[-1:] + 1))
    bars_a_day = int(np.median(np.diff(ends, prepend=-1)))
    within = np.where(days[1:] == days[:-1], (np.diff(time) - 1) // duration, 0)
    return within + bars_a_day * _missing_weekdays(time, DAY)
