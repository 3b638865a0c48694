"""Coarser bars by the sessions of real exchanges, compared with what pandas makes of their local days."""

import sys
import warnings
from pathlib import Path

import exchange_calendars
import numpy as np
import pandas as pd
import pytest
from admf import Coordinator
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.configuration.data_section import Calendar
from admf.coordinator.market.calendars import with_sessions
from admf.coordinator.market.data_files import DataFiles
from admf.coordinator.market.frames import frame_bars
from admf.coordinator.workflows.check import check_workflow
from admf.coordinator.workflows.loading import load_workflow, resolved_workflow
from admf.domain.bars import DAY, MINUTE, WEEK, Bars, iso_time, parse_timeframe
from admf.domain.errors import ConfigurationError, DataError, UnknownNameError
from admf.domain.features import SERIES, compute_feature, feature
from admf.domain.perturbation import PERTURBATIONS
from admf.domain.resampling import coarser, resampled
from admf.domain.trading_calendar import session_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

HOURS = {
    "XNYS": ("America/New_York", "09:30", "16:00"),
    "XLON": ("Europe/London", "08:00", "16:30"),
    "24/7": ("UTC", "00:00", "24:00"),
}
"""Of the exchanges: nyse.com/markets/hours-calendars, londonstockexchange.com."""
PRICE = feature("typical_price", timeframe="1d").fill({})


def frame_at(index: pd.DatetimeIndex, seed: int = 5) -> pd.DataFrame:
    """A random walk at these times."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(index))))
    open_ = close * np.exp(rng.normal(0, 0.004, len(index)))
    high, low = np.maximum(open_, close) * 1.003, np.minimum(open_, close) * 0.997
    columns = {"open": open_, "high": high, "low": low, "close": close, "volume": 1000.0}
    return pd.DataFrame(columns, index=index)


def half_hours(
    exchange: str, first: str, last: str, early: tuple[str, ...] = (), closed: tuple[str, ...] = ()
):
    """Every half hour of trading: of an exchange's weekdays, or around the clock; early ends are at 13:00."""
    zone, opens, closes = HOURS[exchange]
    times: list[pd.Timestamp] = []
    for day in pd.date_range(first, last, freq="D" if exchange == "24/7" else "B"):
        name = str(day.date())
        begin, end = (day + pd.Timedelta(f"{at}:00") for at in (opens, "13:00" if name in early else closes))
        if name not in closed:
            times.extend(pd.date_range(begin, end, freq="30min", inclusive="left"))
    return frame_at(pd.DatetimeIndex(times).tz_localize(zone).tz_convert("UTC"), len(times))


def of_frame(frame: pd.DataFrame, exchange: str, timeframe: str = "30m") -> Bars:
    return frame_bars(frame, "bars", "X", timeframe, Calendar(exchange, "data.calendar"))


def grouped(frame: pd.DataFrame, keys: object) -> pd.DataFrame:
    """Bars of groups."""
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    return frame.groupby(keys).agg(how)


def as_known_at_the_last_bar(frame: pd.DataFrame, keys: object) -> np.ndarray:
    """The typical price of each group, from the last bar in it on until that of the next."""
    groups = grouped(frame, keys)
    typical = (groups["high"] + groups["low"] + groups["close"]) / 3.0
    lasts = frame.groupby(keys).tail(1).index
    return pd.Series(typical.to_numpy(), lasts).reindex(frame.index).ffill().to_numpy()


THANKSGIVING = half_hours("XNYS", "2019-11-18", "2019-12-06", early=("2019-11-29",), closed=("2019-11-28",))
SUMMER_TIME = half_hours("XNYS", "2020-03-02", "2020-03-20")


def test_the_day_after_thanksgiving_is_complete_when_it_ends_early(folder):
    bars = of_frame(THANKSGIVING, "XNYS")
    days = THANKSGIVING.index.tz_convert("America/New_York").date
    found = compute_feature(PRICE, bars)
    np.testing.assert_allclose(found, as_known_at_the_last_bar(THANKSGIVING, days), rtol=1e-12)
    known = np.flatnonzero(np.diff(coarser(bars, "1d").known, prepend=-1))
    assert [iso_time(time + 30 * MINUTE)[5:16] for time in bars.time[known]][7:10] == [
        "11-27T21:00",
        "11-29T18:00",
        "12-02T21:00",
    ]
    assert np.isnan(found[:12]).all()
    assert np.isfinite(found[12:]).all()


def test_days_end_at_four_in_new_york_before_and_after_the_clocks_change(folder):
    bars = of_frame(SUMMER_TIME, "XNYS")
    local = SUMMER_TIME.index.tz_convert("America/New_York")
    found = compute_feature(PRICE, bars)
    np.testing.assert_allclose(found, as_known_at_the_last_bar(SUMMER_TIME, local.date), rtol=1e-12)
    known = np.flatnonzero(np.diff(coarser(bars, "1d").known, prepend=-1))
    assert [iso_time(time)[5:16] for time in bars.time[known]][4:7] == [
        "03-06T20:30",
        "03-09T19:30",
        "03-10T19:30",
    ]
    weeks = as_known_at_the_last_bar(SUMMER_TIME, local.isocalendar().week.to_numpy())
    weekly = feature("typical_price", timeframe="1w").fill({})
    np.testing.assert_allclose(compute_feature(weekly, bars), weeks, rtol=1e-12)
    # Of days, too, the week is complete with its Friday, and not with the Monday after it.
    daily = resampled(bars, "1d")
    np.testing.assert_array_equal(compute_feature(weekly, daily), compute_feature(weekly, bars)[12::13])


def test_bars_of_days_that_are_dated_by_midnight_in_new_york_end_with_their_own_session(folder):
    """A week is complete with its Friday: a Thursday that is dated 5:00 in UTC does not last until then."""
    days = pd.bdate_range("2020-02-24", "2020-03-20", tz="America/New_York").tz_convert("UTC")
    bars = of_frame(frame_at(days), "XNYS", "1d")
    known = coarser(bars, "1w").known
    assert known.tolist() == [-1, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3]
    thursdays = picked(bars, np.flatnonzero(days.day_of_week != 4))
    assert coarser(thursdays, "1w").known.tolist() == [-1] * 4 + [0] * 4 + [1] * 4 + [2] * 4


def test_hours_in_new_york_do_not_reach_beyond_the_close(folder):
    bars = of_frame(THANKSGIVING, "XNYS")
    local = THANKSGIVING.index.tz_convert("America/New_York")
    spans = (local.hour * 60 + local.minute - 570) // 240
    keys = [local.date, spans]
    found = compute_feature(feature("typical_price", timeframe="4h").fill({}), bars)
    np.testing.assert_allclose(found, as_known_at_the_last_bar(THANKSGIVING, keys), rtol=1e-12)
    coarse = resampled(bars, "4h")
    np.testing.assert_array_equal(coarse.close, grouped(THANKSGIVING, keys)["close"].to_numpy())
    assert [iso_time(time)[5:16] for time in coarse.time if iso_time(time) >= "2019-11-27"][:5] == [
        "11-27T14:30",
        "11-27T18:30",
        "11-29T14:30",
        "12-02T14:30",
        "12-02T18:30",
    ]


def test_a_session_of_futures_begins_the_evening_before(folder):
    """CME equity futures trade from 17:00 in Chicago until 16:00 of the next day (cmegroup.com)."""
    zone = "America/Chicago"
    hours = pd.date_range("2020-03-01 17:00", "2020-03-13 15:00", freq="h", tz=zone)
    weekday = hours.day_of_week
    weekend = (weekday == 5) | ((weekday == 4) & (hours.hour > 16)) | ((weekday == 6) & (hours.hour < 17))
    frame = frame_at(hours[~weekend & (hours.hour != 16)].tz_convert("UTC"))
    local = frame.index.tz_convert(zone).tz_localize(None) + pd.Timedelta("7h")
    bars = of_frame(frame, "CMES", "1h")
    daily, days = resampled(bars, "1d"), grouped(frame, local.date)
    assert [iso_time(time) for time in daily.time] == [str(day) for day in days.index]
    assert len(daily) == 10
    for name in days.columns:
        np.testing.assert_array_equal(getattr(daily, name), days[name].to_numpy())
    # The calendar has sessions end at 17:00, and no bar lasts until then: the first one of the next tells.
    known = coarser(bars, "1d").known
    first = np.flatnonzero(np.diff(known, prepend=-1))
    assert known[0] == -1
    assert [iso_time(time)[5:16] for time in bars.time[first]][3:6] == [
        "03-05T23:00",
        "03-08T22:00",
        "03-09T22:00",
    ]
    four = resampled(bars, "4h")
    begun = [f"{time:%H}" for time in pd.DatetimeIndex(four.time, tz="UTC").tz_convert(zone)]
    assert begun == ["17", "21", "01", "05", "09", "13"] * 10
    np.testing.assert_array_equal(
        value_of("previous_session_close", bars),
        days["close"].shift().reindex(pd.Index(local.date)).to_numpy(),
    )
    np.testing.assert_array_equal(value_of("session_high", bars), frame["high"].groupby(local.date).cummax())
    np.testing.assert_array_equal(value_of("session_minutes", bars), (local.hour * 60).to_numpy())


def value_of(name: str, bars: Bars) -> np.ndarray:
    return compute_feature(feature(name).fill({}), bars)


MARKETS = ("XNYS", "XHKG", "CMES", "24/7")
TIMEFRAMES = ("30m", "1h", "4h", "1d", "2d", "1w", "1mo")
FIRST, LAST = "2020-01-15", "2020-03-18"


@pytest.fixture(scope="module")
def markets() -> dict[str, Bars]:
    """All quarters of an hour in the sessions of some exchanges: with breaks, holidays, and summer time."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in MARKETS:
            known = exchange_calendars.get_calendar(name, start="2020-01-02", end="2020-04-30")
            index = known.trading_index(FIRST, LAST, "15min", intervals=False, closed="left")
            found[name] = of_frame(frame_at(index), name, "15m")
    return found


def picked(bars: Bars, places: np.ndarray) -> Bars:
    return structs.replace(bars, time=bars.time[places], prices=bars.prices[:, places])


def ends(bars: Bars, timeframe: str) -> np.ndarray:
    """When the span of each bar ends, session by session: its close, that of the last one, or the break."""
    sessions, length = bars.sessions, parse_timeframe(timeframe).duration
    days = pd.DatetimeIndex(sessions.day)
    keys = days.to_period("M" if length is None else "W" if length == WEEK else "D").astype("int64")
    if length == 2 * DAY:
        keys = keys // 2
    lasts = pd.Series(sessions.closes).groupby(keys).transform("max").to_numpy()
    found = []
    for time in bars.time:
        of = max(np.flatnonzero(sessions.opens <= time))
        begin, end = sessions.opens[of], sessions.closes[of]
        if time < sessions.break_start[of]:
            end = sessions.break_start[of]
        elif time >= sessions.break_end[of]:
            begin = sessions.break_end[of]
        if length is None or length >= DAY:
            found.append(lasts[of])
        else:
            found.append(min(end, begin + ((time - begin) // length + 1) * length))
    return np.array(found)


some = st.sets(st.integers(0, 10_000), min_size=2, max_size=100).map(sorted).map(np.array)


@settings(max_examples=80, deadline=None)
@given(some=some, name=st.sampled_from(MARKETS), timeframe=st.sampled_from(TIMEFRAMES))
def test_a_coarser_bar_is_known_at_its_close_and_not_before(markets, some, name, timeframe):
    whole = markets[name]
    bars = picked(whole, np.unique(some % len(whole)))
    own = ends(bars, timeframe)
    known = coarser(bars, timeframe).known
    for place in range(len(bars)):
        over = np.unique(own[: place + 1]) <= bars.time[place] + 15 * MINUTE
        assert known[place] == np.count_nonzero(over) - 1


@settings(max_examples=40, deadline=None)
@given(
    some=some,
    part=st.floats(0, 1),
    name=st.sampled_from(MARKETS),
    timeframe=st.sampled_from(TIMEFRAMES),
)
@pytest.mark.parametrize("how", list(PERTURBATIONS))
def test_later_bars_change_no_feature_before_them(how, markets, some, part, name, timeframe):
    whole = markets[name]
    bars = picked(whole, np.unique(some % len(whole)))
    cut = 1 + int(part * (len(bars) - 1))
    changed = PERTURBATIONS[how](bars, cut)
    for template in (
        feature("sma", timeframe=timeframe, period=2),
        feature("typical_price", timeframe=timeframe),
    ):
        was, is_ = (compute_feature(template.fill({}), each)[:cut] for each in (bars, changed))
        np.testing.assert_array_equal(was, is_)
        known = coarser(bars, timeframe).known
        warm = known >= (1 if template.name == "sma" else 0)
        np.testing.assert_array_equal(np.isfinite(was), warm[:cut])
    for name in ("previous_session_high", "session_vwap", "session_minutes"):
        was, is_ = (value_of(name, each)[:cut] for each in (bars, changed))
        np.testing.assert_array_equal(was, is_)


@pytest.mark.parametrize("name", MARKETS)
def test_a_file_that_ends_earlier_knows_no_less_of_what_it_holds(folder, markets, name):
    """Calendars reach beyond the last bar, so that a month that ends with holidays is over all the same."""
    whole = markets[name]
    days = session_numbers(whole, whole.sessions)
    for day in range(days[0] + 1, days[-1], 6):
        short = structs.replace(whole.head(int(np.searchsorted(days, day))), sessions=None)
        short = with_sessions(short, Calendar(name, ""), "bars")
        for timeframe in ("1d", "1w", "1mo"):
            expected = coarser(whole, timeframe).known[: len(short)]
            np.testing.assert_array_equal(coarser(short, timeframe).known, expected)


@settings(max_examples=20, deadline=None)
@given(some=some, timeframe=st.sampled_from(TIMEFRAMES))
def test_around_the_clock_a_calendar_changes_nothing(markets, some, timeframe):
    bars = picked(markets["24/7"], np.unique(some % len(markets["24/7"])))
    with_, without = (coarser(each, timeframe) for each in (bars, structs.replace(bars, sessions=None)))
    np.testing.assert_array_equal(with_.known, without.known)
    for name in ("time", *SERIES):
        np.testing.assert_array_equal(getattr(with_.bars, name), getattr(without.bars, name))


FRAMES = {
    "us": SUMMER_TIME,
    "uk": half_hours("XLON", "2020-03-02", "2020-03-20"),
    "coin": half_hours("24/7", "2020-03-02", "2020-03-20"),
}
ACCOUNT = {
    "name": "account",
    "data": {
        "files": {
            "US": "us",
            "UK": {"file": "uk", "calendar": "XLON"},
            "COIN": {"file": "coin", "calendar": "24/7"},
        },
        "timeframe": "30m",
        "calendar": "XNYS",
    },
    "strategies": [
        {"type": "sma_crossover", "name": "cross", "timeframe": "1d", "parameters": {"fast": 1, "slow": 2}}
    ],
    "workflow": "backtest",
}


def test_each_symbol_goes_by_its_own_calendar(folder, monkeypatch):
    with Coordinator("store") as coordinator:
        result = coordinator.execute_workflow(ACCOUNT, frames=FRAMES)
        phase = result.phase("backtest")
        signals = phase.signals()
        seen = {
            symbol: {f"{time:%H:%M}" for time in rows["time"]} for symbol, rows in signals.groupby("symbol")
        }
        assert seen == {"COIN": {"23:30"}, "UK": {"16:00"}, "US": {"19:30", "20:30"}}
        for symbol, name in (("US", "us"), ("UK", "uk"), ("COIN", "coin")):
            frame = FRAMES[name]
            zone = HOURS[{"US": "XNYS", "UK": "XLON", "COIN": "24/7"}[symbol]][0]
            closes = grouped(frame, frame.index.tz_convert(zone).date)["close"]
            above = (closes > closes.rolling(2).mean())[1:]
            expected = above[1:][above[1:] != above.shift()[1:]]
            rows = signals[signals["symbol"] == symbol]
            assert [time.date() for time in rows["time"]] == list(expected.index)
            assert len(rows) > 2
        # Neither the frames nor the library is there any more: the log has the sessions.
        monkeypatch.setitem(sys.modules, "exchange_calendars", None)
        assert [each.outcome for each in coordinator.replay_workflow(result.run)] == ["identical"]
        assert verify_workspace(coordinator.workspace).violations == ()
        (started,) = coordinator.workspace.store.read(phase.stream, topics=("PhaseStarted",))
        feeds = {feed.symbol: feed for feed in started.event.feeds}
        assert {symbol: feed.rows for symbol, feed in feeds.items()} == {
            "US": len(FRAMES["us"]),
            "UK": len(FRAMES["uk"]),
            "COIN": len(FRAMES["coin"]),
        }
        # Days around the clock: those of the bars, 7 before them and 14 after them.
        assert feeds["COIN"].sessions == 19 + 7 + 14


def test_a_run_with_other_sessions_reads_another_stream_of_bars(folder):
    with Coordinator("memory://") as coordinator:
        streams = []
        for calendar in ("XNYS", "24/7", ""):
            changes = ["data.files.UK.calendar=''", "data.files.COIN.calendar=''"]
            result = coordinator.execute_workflow(
                ACCOUNT, [*changes, f"data.calendar={calendar!r}"], FRAMES, cache=False
            )
            (started,) = coordinator.workspace.store.read(
                result.phase("backtest").stream, topics=("PhaseStarted",)
            )
            streams.append({feed.symbol: feed.stream for feed in started.event.feeds})
    assert len({each["US"] for each in streams}) == 3
    assert len({each["UK"] for each in streams}) == 1


def panel_of(*changes: str) -> list[Bars]:
    (section,) = resolved_workflow(load_workflow(ACCOUNT, changes)).phases
    return list(DataFiles(Path.cwd(), FRAMES).panel(section)[0].bars)


def test_bars_outside_of_the_sessions_of_their_own_symbol_are_refused(folder):
    with pytest.raises(DataError, match=r"data frame 'us', row 4, .* session of XLON, found one from"):
        panel_of("data.files.UK.file=us")
    with pytest.raises(UnknownNameError, match=r"^data\.files\.UK\.calendar: unknown calendar 'XLOM'\. Did"):
        panel_of("data.files.UK.calendar=XLOM")
    with pytest.raises(UnknownNameError, match=r"^data\.calendar: unknown calendar 'XNYZ'\. Did"):
        panel_of("data.calendar=XNYZ")
    with pytest.raises(UnknownNameError, match=r"data\.files\.UK\.calender: .*Did you mean calendar\?"):
        panel_of("data.files.UK.calender=XLON")
    with pytest.raises(ConfigurationError, match=r"data\.files\.UK\.file: "):
        panel_of("data.files={UK: {calendar: XLON}}")
    with pytest.raises(ConfigurationError, match=r"data: `files` must map symbols to files, none of them"):
        panel_of("data.files.UK.file=''")
    assert [bars.sessions is None for bars in panel_of("data.files.UK.calendar=''")] == [False, True, False]


def test_bars_from_before_the_calendar_are_refused_with_the_path_and_the_remedy(folder):
    early = frame_at(pd.date_range("1955-03-01", "1955-03-04", tz="UTC"))
    with pytest.raises(DataError) as caught:
        frame_bars(early, "early", "X", "1d", Calendar("XKRX", "data.files.KR.calendar"))
    assert str(caught.value).startswith(
        "data.files.KR.calendar: the sessions of XKRX must be known from 1955-03-01 to 1955-03-04, found: "
    )
    assert str(caught.value).endswith("Cut the file, or leave out the calendar.")


def test_sessions_without_bars_are_named_by_the_calendar_of_their_symbol(folder):
    short = FRAMES["uk"][FRAMES["uk"].index.normalize() != "2020-03-10"]
    (folder / "uk.csv").write_text(short.to_csv(index_label="date"))
    for name in ("us", "coin"):
        (folder / f"{name}.csv").write_text(FRAMES[name].to_csv(index_label="date"))
    files = {symbol: f"data.files.{symbol}.file={symbol.lower()}.csv" for symbol in ("UK", "COIN")}
    account = {**ACCOUNT, "data": ACCOUNT["data"] | {"files": ACCOUNT["data"]["files"] | {"US": "us.csv"}}}
    assert check_workflow(load_workflow(account, files.values())).warnings == (
        "UK: 1 sessions of XLON have no bars: 2020-03-10.",
    )
