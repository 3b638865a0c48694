"""Coarser bars, compared with those of pandas, and with hand-made sessions."""

import numpy as np
import pandas as pd
import pytest
from admf.domain.bars import DAY, HOUR, MINUTE, Bars, iso_time
from admf.domain.errors import ConfigurationError, DataError
from admf.domain.events import SessionsLoaded
from admf.domain.features import FEATURES, compute_feature, feature, feature_inputs, feature_table
from admf.domain.perturbation import PERTURBATIONS
from admf.domain.resampling import coarser, resampled
from admf.domain.trading_calendar import missing_sessions, require_sessions, session_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

SERIES = ("open", "high", "low", "close", "volume")
START = int(np.datetime64("2019-12-27T00:00", "ns").astype(np.int64))
RULES = {
    "5m": "5min",
    "45m": None,
    "1h": "1h",
    "4h": "4h",
    "1d": "D",
    "1w": "W-MON",
    "1mo": "MS",
    "3mo": "QS",
}


def walk(minutes: np.ndarray, timeframe: str = "1m") -> Bars:
    """A random walk with bars at these minutes after the start."""
    rng = np.random.default_rng(minutes.size)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, minutes.size)))
    opens = closes * np.exp(rng.normal(0, 0.01, minutes.size))
    return Bars(
        symbol="WALK",
        timeframe=timeframe,
        time=START + minutes.astype(np.int64) * MINUTE,
        prices=np.stack(
            (
                opens,
                np.maximum(opens, closes) * 1.01,
                np.minimum(opens, closes) * 0.99,
                closes,
                rng.integers(0, 1000, minutes.size).astype(np.float64),
            )
        ),
    )


minutes = st.sets(st.integers(0, 60 * 24 * 12), min_size=2, max_size=120).map(sorted).map(np.array)


@settings(max_examples=60, deadline=None)
@given(minutes=minutes, timeframe=st.sampled_from([name for name, rule in RULES.items() if rule]))
def test_bars_are_those_that_pandas_makes(minutes, timeframe):
    bars = walk(minutes)
    frame = pd.DataFrame({name: getattr(bars, name) for name in SERIES}, index=pd.to_datetime(bars.time))
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    expected = frame.resample(RULES[timeframe], closed="left", label="left").agg(how).dropna()
    found = resampled(bars, timeframe)
    assert found.timeframe == timeframe
    assert found.time.tolist() == expected.index.as_unit("ns").astype("int64").tolist()
    for name in SERIES:
        np.testing.assert_array_equal(getattr(found, name), expected[name].to_numpy())


@settings(max_examples=60, deadline=None)
@given(minutes=minutes, timeframe=st.sampled_from(sorted(RULES)), part=st.floats(0, 1))
def test_what_comes_later_changes_no_bar_that_was_complete(minutes, timeframe, part):
    bars = walk(minutes)
    known = resampled(bars.head(1 + int(part * (len(bars) - 1))), timeframe)
    whole = resampled(bars, timeframe)
    complete = len(known) - 1
    for name in ("time", *SERIES):
        np.testing.assert_array_equal(getattr(known, name)[:complete], getattr(whole, name)[:complete])
    assert known.time[-1] == whole.time[complete]


@pytest.mark.parametrize(
    ("timeframe", "coarser"),
    [("5m", "5m"), ("5m", "7m"), ("1h", "30m"), ("2d", "1w"), ("1w", "1mo"), ("2mo", "3mo")],
)
def test_a_timeframe_must_be_a_multiple(timeframe, coarser):
    with pytest.raises(
        ConfigurationError, match=f"multiple of their timeframe, {timeframe}; {coarser} is none"
    ):
        resampled(walk(np.arange(5) * 60 * 24 * 60, timeframe), coarser)


def at(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


@pytest.fixture
def sessions() -> SessionsLoaded:
    """Two sessions with a break, 01:30 to 08:00 UTC, and a short one without, as in Hong Kong."""
    day = np.array([at("2019-12-23"), at("2019-12-24"), at("2019-12-27")])
    opens = day + 90 * MINUTE
    closes = day + np.array([8 * HOUR, 4 * HOUR, 8 * HOUR])
    return SessionsLoaded(
        day=day,
        opens=opens,
        closes=closes,
        break_start=np.array([day[0] + 4 * HOUR, closes[1], day[2] + 4 * HOUR]),
        break_end=np.array([day[0] + 5 * HOUR, closes[1], day[2] + 5 * HOUR]),
    )


def session_bars(sessions: SessionsLoaded, step: int = 10 * MINUTE) -> Bars:
    time = np.concatenate(
        [
            np.arange(opens, closes, step)
            for opens, closes in zip(sessions.opens, sessions.closes, strict=True)
        ]
    )
    bars = walk((time - START) // MINUTE, "10m")
    inside = np.flatnonzero(session_numbers(bars, sessions) >= 0)
    return structs.replace(walk(((time - START) // MINUTE)[inside], "10m"), sessions=sessions)


def test_hours_are_counted_from_the_open_and_from_the_end_of_the_break(sessions):
    found = resampled(session_bars(sessions), "1h")
    assert [iso_time(time) for time in found.time] == [
        *(f"2019-12-23T{hour}:00" for hour in ("01:30", "02:30", "03:30", "05:00", "06:00", "07:00")),
        *(f"2019-12-24T{hour}:00" for hour in ("01:30", "02:30", "03:30")),
        *(f"2019-12-27T{hour}:00" for hour in ("01:30", "02:30", "03:30", "05:00", "06:00", "07:00")),
    ]


def test_a_day_is_one_bar_of_a_session(sessions):
    bars = session_bars(sessions)
    found = resampled(bars, "1d")
    assert found.time.tolist() == sessions.day.tolist()
    np.testing.assert_allclose(found.volume.sum(), bars.volume.sum())
    weeks = resampled(bars, "1w")
    assert weeks.time.tolist() == [at("2019-12-23")]
    assert (found.sessions, weeks.sessions) == (sessions, None)


@pytest.mark.parametrize(
    ("timeframe", "closes"),
    [
        ("3h", ["23T03:50", "23T07:50", "24T03:50", "27T03:50", "27T07:50"]),
        ("2h", ["23T03:20", "23T03:50", "23T06:50", "23T07:50", "24T03:20", "24T03:50", "27T03:20"]),
        ("1d", ["23T07:50", "24T03:50", "27T07:50"]),
        # Of the week that may go on after the last session which is known, none knows the end.
        ("1w", []),
    ],
)
def test_a_coarser_bar_is_known_at_the_close_of_its_session_or_at_the_break(sessions, timeframe, closes):
    bars = session_bars(sessions)
    known = coarser(bars, timeframe).known
    first = np.flatnonzero(np.diff(known, prepend=-1))
    assert [iso_time(time)[8:16] for time in bars.time[first]][: len(closes) or None] == closes


def test_bars_outside_of_sessions_are_refused_with_row_and_reason(sessions):
    bars = session_bars(sessions)
    require_sessions(bars, sessions, "XHKG", "a.csv", 2)
    for time, reason in (
        ("2019-12-23T01:20", "one from 2019-12-23T01:30:00 to 2019-12-23T08:00:00 with a break from"),
        ("2019-12-23T04:30", "with a break from 2019-12-23T04:00:00 to 2019-12-23T05:00:00"),
        ("2019-12-24T04:00", "one from 2019-12-24T01:30:00 to 2019-12-24T04:00:00"),
        ("2019-12-25T03:00", "none on 2019-12-25"),
        ("2019-12-29T03:00", "none on 2019-12-29"),
    ):
        row = int(np.searchsorted(bars.time, at(time)))
        minutes = (np.insert(bars.time, row, at(time)) - START) // MINUTE
        with pytest.raises(DataError) as caught:
            require_sessions(walk(minutes, "10m"), sessions, "XHKG", "a.csv", 2)
        assert str(caught.value).startswith(f"a.csv, row {2 + row}, {time}:00: a bar must be dated inside")
        assert reason in str(caught.value)
        assert "more row" not in str(caught.value)


def test_sessions_without_bars_are_named(sessions):
    bars = session_bars(sessions)
    kept = bars.time // DAY != sessions.day[1] // DAY
    without = walk((bars.time[kept] - START) // MINUTE, "10m")
    assert missing_sessions(bars, sessions) == []
    assert missing_sessions(without, sessions) == ["2019-12-24"]


def test_sessions_need_bars_of_at_most_a_day(sessions):
    with pytest.raises(ConfigurationError, match="at most a day, found 1w"):
        session_numbers(walk(np.arange(3) * 60 * 24 * 7, "1w"), sessions)


ENDS = {"5m": 5 * MINUTE, "1h": HOUR, "1d": DAY, "1w": 7 * DAY}


@settings(max_examples=60, deadline=None)
@given(minutes=minutes, timeframe=st.sampled_from(sorted(ENDS)))
def test_a_coarser_bar_is_known_once_its_span_is_over_and_not_before(minutes, timeframe):
    """Bar by bar, with nothing but the bars up to it: those whose span has ended by the close of this one."""
    bars = walk(minutes)
    known = coarser(bars, timeframe).known
    for place in range(0, len(bars), 7):
        seen = resampled(bars.head(place + 1), timeframe)
        over = seen.time + ENDS[timeframe] <= bars.time[place] + MINUTE
        assert known[place] == np.count_nonzero(over) - 1


@settings(max_examples=40, deadline=None)
@given(minutes=minutes, timeframe=st.sampled_from(sorted(RULES)), part=st.floats(0, 1))
@pytest.mark.parametrize("how", list(PERTURBATIONS))
def test_a_feature_of_a_coarser_timeframe_does_not_change_with_later_bars(how, minutes, timeframe, part):
    bars = walk(minutes)
    cut = 1 + int(part * (len(bars) - 1))
    changed = PERTURBATIONS[how](bars, cut)
    for template in (
        feature("sma", timeframe=timeframe, period=2),
        feature("typical_price", timeframe=timeframe),
    ):
        was, is_ = (compute_feature(template.fill({}), each)[:cut] for each in (bars, changed))
        np.testing.assert_array_equal(was, is_)


@pytest.mark.parametrize("name", list(FEATURES))
def test_every_feature_of_weeks_is_known_from_its_last_day_on(name, random_bars):
    days = random_bars(4, 400)
    usual = {key: each.usual for key, each in FEATURES.get(name).parameters.items()}
    plain, weekly = (feature(name, timeframe=each, **usual).fill({}) for each in ("", "1w"))
    expected = compute_feature(plain, resampled(days, "1w"))
    sundays = np.flatnonzero((days.time // DAY + 4) % 7 == 0)
    found = compute_feature(weekly, days)
    assert len(sundays) == 400 // 7
    np.testing.assert_array_equal(found[sundays], expected[: sundays.size])
    np.testing.assert_array_equal(found[sundays[:-1] + 6], expected[: sundays.size - 1])
    assert np.isnan(found[: sundays[0]]).all()
    np.testing.assert_array_equal(feature_table((weekly,), days)[0], found)


def test_a_feature_says_its_timeframe_and_shows_what_it_was_computed_from(random_bars):
    days = random_bars(4, 60)
    spec = feature("sma", timeframe="1w", period=3).fill({})
    assert str(spec) == "sma(period=3) of 1w"
    (close,) = feature_inputs(spec, days).values()
    weeks = resampled(days, "1w").close
    assert set(close[~np.isnan(close)]) <= set(weeks)


def test_bars_that_are_closer_than_their_timeframe_have_no_features_of_a_coarser_one():
    bars = walk(np.array([0, 30, 60, 90]), "1h")
    with pytest.raises(
        DataError, match="the bar of 1h at 2019-12-27T01:00:00 lasts to the end of its 2h, but"
    ):
        coarser(bars, "2h")
