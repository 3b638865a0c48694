from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from admf.domain.bars import (
    DAY,
    HOUR,
    MINUTE,
    WEEK,
    Bars,
    Gap,
    Window,
    bars_from,
    bars_loaded,
    checked_bars,
    gaps,
    iso_time,
    parse_timeframe,
)
from admf.domain.errors import ConfigurationError, DataError
from admf.domain.events import BarsLoaded
from hypothesis import given
from hypothesis import strategies as st


def instant(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def flat_columns(*times: str) -> BarsLoaded:
    price = np.full(len(times), 10.0)
    time = np.array([instant(text) for text in times], dtype=np.int64)
    return BarsLoaded(
        time=time, open=price, high=price + 1, low=price - 1, close=price.copy(), volume=np.zeros(len(times))
    )


def flat_bars(*times: str, timeframe: str = "1d") -> Bars:
    return checked_bars(flat_columns(*times), symbol="SPY", timeframe=timeframe, source="SPY.csv")


THREE_DAYS = ("2024-01-02", "2024-01-03", "2024-01-04")


@pytest.mark.parametrize(
    ("name", "duration", "bars_per_year"),
    [
        ("1d", DAY, 252),
        ("2d", 2 * DAY, 126),
        ("1w", WEEK, 52),
        ("1mo", None, 12),
        ("3mo", None, 4),
        ("1h", HOUR, 1638),
        ("5m", 5 * MINUTE, 19656),
        ("30s", MINUTE // 2, 196560),
    ],
)
def test_a_timeframe_has_a_duration_and_a_number_of_bars_a_year(name, duration, bars_per_year):
    timeframe = parse_timeframe(name)
    assert (timeframe.name, timeframe.duration, timeframe.bars_per_year) == (name, duration, bars_per_year)


@pytest.mark.parametrize("name", ["", "d", "daily", "0d", "-1d", "1.5h", "1M", "1D", "1d ", "1d\n", "99999d"])
def test_an_unknown_timeframe_is_refused_with_the_accepted_forms(name):
    with pytest.raises(ConfigurationError, match=r"found .*days as 1d"):
        parse_timeframe(name)


def test_sound_columns_become_read_only_contiguous_bars():
    columns = flat_columns(*THREE_DAYS)
    bars = checked_bars(columns, symbol="SPY", timeframe="1d", source="SPY.csv")
    assert (bars.symbol, bars.timeframe, len(bars)) == ("SPY", "1d", 3)
    for name in BarsLoaded.__struct_fields__:
        array = getattr(bars, name)
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_bar_may_be_a_single_price_without_volume():
    price = np.array([10.0])
    columns = BarsLoaded(
        time=np.array([0]), open=price, high=price, low=price, close=price, volume=np.array([0.0])
    )
    assert len(checked_bars(columns, symbol="SPY", timeframe="1d", source="SPY.csv")) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"open": np.nan}, "open must be a finite number, found open nan"),
        ({"high": np.inf}, "high must be a finite number, found high inf"),
        ({"low": -np.inf}, "low must be a finite number, found low -inf"),
        ({"close": np.nan}, "close must be a finite number, found close nan"),
        ({"volume": np.nan}, "volume must be a finite number, found volume nan"),
        ({"open": 0.0}, "open must be above zero, found open 0"),
        ({"high": -11.0}, "high must be above zero, found high -11"),
        ({"low": -9.0}, "low must be above zero, found low -9"),
        ({"close": 0.0}, "close must be above zero, found close 0"),
        ({"volume": -1.0}, "volume must not be negative, found volume -1"),
        ({"high": 8.5}, "high must not be below low, found high 8.5 and low 9"),
        ({"open": 12.0}, "high must not be below open, found high 11 and open 12"),
        ({"close": 12.0}, "high must not be below close, found high 11 and close 12"),
        ({"open": 8.0}, "low must not be above open, found low 9 and open 8"),
        ({"close": 8.0}, "low must not be above close, found low 9 and close 8"),
    ],
)
def test_a_broken_bar_is_refused_with_source_row_date_and_values(changes, reason):
    columns = flat_columns(*THREE_DAYS)
    for name, value in changes.items():
        getattr(columns, name)[1] = value
    with pytest.raises(DataError) as refusal:
        checked_bars(columns, symbol="SPY", timeframe="1d", source="SPY.csv", first_row=2)
    assert str(refusal.value) == f"SPY.csv, row 3, 2024-01-03: {reason}. Correct the row or remove it."


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        (
            ("2024-01-02", "2024-01-04", "2024-01-03"),
            "row 4: unsorted time: each must be later than the one before, "
            "found 2024-01-03 after 2024-01-04. Sort",
        ),
        (
            ("2024-01-02", "2024-01-02", "2024-01-03"),
            "row 3: duplicate time: each must be later than the one before, "
            "found 2024-01-02 after 2024-01-02. Remove",
        ),
    ],
)
def test_times_that_do_not_increase_are_refused(times, reason):
    with pytest.raises(DataError) as refusal:
        checked_bars(flat_columns(*times), symbol="SPY", timeframe="1d", source="SPY.csv", first_row=2)
    assert str(refusal.value).startswith(f"SPY.csv, {reason}")


def test_the_first_broken_row_is_named_and_the_others_are_counted():
    columns = flat_columns(*THREE_DAYS)
    columns.volume[1:] = -1
    with pytest.raises(DataError, match=r"row 2, .* found volume -1 \(and 1 more row like it\)\."):
        checked_bars(columns, symbol="SPY", timeframe="1d", source="SPY.csv")


def test_a_broken_row_far_down_is_found():
    columns = flat_columns(*(str(date(1900, 1, 1) + timedelta(days=day)) for day in range(70_000)))
    columns.low[69_998] = np.nan
    with pytest.raises(DataError, match=r"row 69999, .* low must be a finite number, found low nan\."):
        checked_bars(columns, symbol="SPY", timeframe="1d", source="SPY.csv")


@pytest.mark.parametrize("before", [1, 65_535, 65_536, 65_537, 69_999])
def test_a_gap_is_found_wherever_it_is(before):
    minutes = np.arange(70_000)
    time = (minutes + 5 * (minutes >= before)) * MINUTE
    columns = msgspec.structs.replace(flat_columns(*["2024-01-02"] * minutes.size), time=time)
    bars = checked_bars(columns, symbol="SPY", timeframe="1m", source="SPY.csv")
    assert [(gap.next_time, gap.missing) for gap in gaps(bars)] == [(int(time[before]), 5)]


def test_no_bars_are_refused():
    with pytest.raises(DataError, match=r"SPY\.csv: there must be at least one bar, found none"):
        flat_bars()


@given(
    st.lists(
        st.tuples(st.floats(), st.floats(), st.floats(), st.floats(), st.floats(), st.integers(0, 3)),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_accepted_keeps_every_rule(rows):
    open_, high, low, close, volume, days = (np.array(column) for column in zip(*rows, strict=True))
    columns = BarsLoaded(time=days * DAY, open=open_, high=high, low=low, close=close, volume=volume)
    kept = all(
        np.isfinite(row).all()
        and 0 < row[2] <= min(row[0], row[3]) <= max(row[0], row[3]) <= row[1] < np.inf
        and 0 <= row[4] < np.inf
        for row in rows
    ) and all(later > earlier for earlier, later in pairwise(days))
    try:
        checked_bars(columns, symbol="SPY", timeframe="1d", source="SPY.csv")
    except DataError:
        assert not kept
    else:
        assert kept


@given(size=st.integers(1, 30), data=st.data())
def test_head_is_a_view_of_the_bars_before_stop(size, data):
    times = [str(date(2024, 1, 1) + timedelta(days=day)) for day in range(size)]
    bars = flat_bars(*times)
    stop = data.draw(st.integers(0, size))
    head = bars.head(stop)
    assert (len(head), head.symbol, head.timeframe) == (stop, "SPY", "1d")
    for name in BarsLoaded.__struct_fields__:
        np.testing.assert_array_equal(getattr(head, name), getattr(bars, name)[:stop])
        assert stop == 0 or np.shares_memory(getattr(head, name), getattr(bars, name))
        assert not getattr(head, name).flags.writeable


@pytest.mark.parametrize("stop", [-1, 4])
def test_head_beyond_the_bars_is_refused(stop):
    with pytest.raises(DataError, match=f"SPY: the first {stop} bars were asked for, but there are 3"):
        flat_bars(*THREE_DAYS).head(stop)


HOURS = st.lists(st.integers(0, 24 * 20), min_size=1, max_size=40, unique=True).map(sorted)
DAYS = st.none() | st.dates(date(2023, 12, 28), date(2024, 1, 25))


@given(hours=HOURS, start=DAYS, end=DAYS)
def test_a_window_holds_exactly_the_bars_of_its_days(hours, start, end):
    midnight = datetime(2024, 1, 1, tzinfo=UTC)
    times = [midnight + timedelta(hours=hour) for hour in hours]
    bars = flat_bars(*(time.replace(tzinfo=None).isoformat() for time in times), timeframe="1h")
    wanted = [
        index
        for index, time in enumerate(times)
        if (start is None or time.date() >= start) and (end is None or time.date() <= end)
    ]
    if not wanted:
        with pytest.raises(DataError, match="a window must hold at least one bar"):
            bars.window(start, end)
    else:
        window = bars.window(start, end)
        assert list(range(window.first, window.stop)) == wanted
        assert len(window) == len(wanted)


def test_the_days_of_a_window_are_included_as_a_whole():
    bars = flat_bars("2024-01-02T00:00", "2024-01-02T23:59", "2024-01-03T00:00", timeframe="1m")
    assert bars.window(date(2024, 1, 2), date(2024, 1, 2)) == Window(0, 2)
    assert bars.window() == Window(0, 3)


def test_a_window_without_bars_is_refused_with_the_dates_asked_and_the_span():
    with pytest.raises(DataError) as refusal:
        flat_bars(*THREE_DAYS).window(date(2025, 1, 1), None)
    assert str(refusal.value) == (
        "SPY: a window must hold at least one bar, found none from 2025-01-01 to the last; "
        "there are bars from 2024-01-02 to 2024-01-04. Choose dates within them."
    )


def test_bars_survive_their_event():
    bars = flat_bars(*THREE_DAYS)
    restored = bars_from(bars_loaded(bars), "SPY", "1d")
    for name in Bars.__struct_fields__:
        np.testing.assert_array_equal(getattr(restored, name), getattr(bars, name))
    assert not restored.close.flags.writeable


def test_bars_are_frozen():
    with pytest.raises(AttributeError):
        flat_bars(*THREE_DAYS).symbol = "QQQ"
    assert msgspec.structs.replace(flat_bars(*THREE_DAYS), symbol="QQQ").symbol == "QQQ"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2024-01-02", "2024-01-02"),
        ("1969-12-31", "1969-12-31"),
        ("2024-01-02T15:30", "2024-01-02T15:30:00"),
        ("2024-01-02T15:30:00.000000001", "2024-01-02T15:30:00.000000001"),
    ],
)
def test_times_are_written_as_iso_8601(text, written):
    assert iso_time(instant(text)) == written


@pytest.mark.parametrize(
    ("timeframe", "previous", "following", "missing"),
    [
        ("1d", "2001-09-10", "2001-09-17", 4),
        ("1d", "2024-01-02", "2024-01-10", 5),
        ("2d", "2024-01-01", "2024-01-15", 4),
        ("1w", "2024-01-01", "2024-01-15", 1),
        ("1mo", "2024-01-31", "2024-03-29", 1),
        ("3mo", "2024-01-01", "2025-01-01", 3),
        ("1h", "2024-01-02T10:00", "2024-01-02T14:00", 3),
        ("5m", "2024-01-02T10:00", "2024-01-02T10:07", 1),
        ("1h", "2024-01-02T10:00", "2024-01-10T10:00", 5),
    ],
)
def test_missing_bars_are_a_gap(timeframe, previous, following, missing):
    bars = flat_bars(previous, following, timeframe=timeframe)
    assert gaps(bars) == (Gap(instant(previous), instant(following), missing),)


@pytest.mark.parametrize(
    ("timeframe", "previous", "following"),
    [
        ("1d", "2024-01-05", "2024-01-08"),
        ("1d", "2024-03-28", "2024-04-02"),
        ("1w", "2024-01-05", "2024-01-12"),
        ("1w", "2024-03-28", "2024-04-05"),
        ("1mo", "2024-01-31", "2024-02-29"),
        ("1h", "2024-01-02T10:00", "2024-01-02T11:00"),
        ("1h", "2024-01-05T20:00", "2024-01-08T14:30"),
    ],
)
def test_nights_weekends_and_holidays_are_no_gaps(timeframe, previous, following):
    assert gaps(flat_bars(previous, following, timeframe=timeframe)) == ()


def test_a_single_bar_has_no_gaps():
    for timeframe in ("1d", "1mo", "5m"):
        assert gaps(flat_bars("2024-01-02", timeframe=timeframe)) == ()
