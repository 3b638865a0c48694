"""Coarser bars and exchange calendars, from YAML to the log."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from admf import Coordinator
from admf.coordinator.audit.explanation import explain
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.configuration.data_section import Calendar
from admf.coordinator.market.data_files import DataFiles
from admf.coordinator.market.market_data import find_data_file, load_bars
from admf.coordinator.workflows.check import check_workflow
from admf.coordinator.workflows.loading import load_workflow, resolved_workflow
from admf.domain.bars import MINUTE, Bars, iso_time
from admf.domain.errors import ConfigurationError, DataError, UnknownNameError
from admf.domain.trading_calendar import session_numbers
from msgspec import structs

HALF_HOURS = {
    "data": {"file": "half_hours.csv", "timeframe": "30m", "resample": "1h", "calendar": "XNYS"},
    "strategies": [{"name": "cross", "type": "sma_crossover", "parameters": {"fast": 3, "slow": 8}}],
    "workflow": "backtest",
}
# Sessions of the New York Stock Exchange, nyse.com/markets/hours-calendars: 9:30 to 16:00 in New York, which
# is five hours behind UTC, and four from 8 March 2020 on; closed on 20 January and 17 February.
FIRST, LAST, SUMMER = date(2020, 1, 13), date(2020, 3, 20), date(2020, 3, 8)
CLOSED = (date(2020, 1, 20), date(2020, 2, 17))


def days() -> list[date]:
    every = (FIRST + timedelta(number) for number in range((LAST - FIRST).days + 1))
    return [day for day in every if day.weekday() < 5 and day not in CLOSED]


def times() -> list[str]:
    """When each half hour of trading begins, in UTC."""
    found = []
    for day in days():
        begin = 13 * 60 + 30 if day >= SUMMER else 14 * 60 + 30
        found += [f"{day}T{m // 60:02}:{m % 60:02}:00Z" for m in range(begin, begin + 390, 30)]
    return found


def rows() -> list[str]:
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.004, len(times()))))
    opens = np.concatenate(([100.0], closes[:-1])) * 1.0005
    return [
        f"{time},{open_!r},{max(open_, close) * 1.002!r},{min(open_, close) * 0.998!r},{close!r},1000"
        for time, open_, close in zip(times(), opens.tolist(), closes.tolist(), strict=True)
    ]


def write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *lines, ""]))


@pytest.fixture
def half_hours(folder: Path) -> list[str]:
    write(folder / "half_hours.csv", rows())
    return rows()


def bars_of(workflow: dict[str, object], *changes: str) -> Bars:
    (section,) = resolved_workflow(load_workflow(workflow, changes)).phases
    panel, _ = DataFiles(Path.cwd()).panel(section)
    return panel.bars[0]


def test_hours_begin_at_the_open_in_summer_and_in_winter(half_hours):
    bars = bars_of(HALF_HOURS)
    of = {day: [iso_time(time)[11:16] for time in bars.time if iso_time(time).startswith(day)]
          for day in ("2020-03-06", "2020-03-09")}  # fmt: skip
    assert of == {
        "2020-03-06": ["14:30", "15:30", "16:30", "17:30", "18:30", "19:30", "20:30"],
        "2020-03-09": ["13:30", "14:30", "15:30", "16:30", "17:30", "18:30", "19:30"],
    }
    assert len(bars) == 7 * len(days())
    assert set(bars.volume) == {1000.0, 2000.0}


def test_days_are_those_of_sessions(half_hours):
    bars = bars_of(HALF_HOURS, "data.resample=1d")
    assert [iso_time(time) for time in bars.time] == [str(day) for day in days()]
    assert (bars.volume == 13_000).all()


def test_a_run_over_resampled_bars_verifies_and_replays_without_its_file(half_hours, folder):
    with Coordinator("store") as coordinator:
        result = coordinator.execute_workflow(HALF_HOURS)
        (folder / "half_hours.csv").unlink()
        assert [each.outcome for each in coordinator.replay_workflow(result.run)] == ["identical"]
        assert verify_workspace(coordinator.workspace).violations == ()
        query = coordinator.workspace.read_models.query
        assert query("SELECT timeframe, rows FROM feeds").rows == (("1h", 7 * len(days())),)
        assert len(result.phase("backtest").trades()) > 10


@pytest.mark.parametrize(
    ("resample", "timeframe", "minutes"),
    [("1h", "''", 60), ("2h", "''", 120), ("1d", "''", 24 * 60), ("''", "1h", 30), ("1h", "1d", 60)],
)
def test_half_hours_after_a_bar_change_nothing_that_happened_up_to_it(
    half_hours, folder, resample, timeframe, minutes
):
    """A coarser bar is known at its end, and not before: the half hours after it may be anything."""
    changes = [f"data.resample={resample}", f"strategies.cross.timeframe={timeframe}"]
    bars = bars_of(HALF_HOURS, *changes)
    checked = 0
    with Coordinator("memory://") as coordinator:
        whole = coordinator.execute_workflow(HALF_HOURS, changes).phase("backtest")
        for bar in range(20, len(bars) - 1, max(1, len(bars) // 6)):
            # The first half hour that this bar does not hold: what comes from then on is another market.
            end = int(bars.time[bar]) + minutes * MINUTE
            later = next(i for i, time in enumerate(times()) if nanoseconds(time) >= end)
            other = [
                scaled(row, 1.0 + 0.3 * (number % 3 - 1)) for number, row in enumerate(half_hours[later:])
            ]
            write(folder / "half_hours.csv", half_hours[:later] + other)
            changed = coordinator.execute_workflow(HALF_HOURS, changes).phase("backtest")
            for table in ("signals", "orders", "fills"):
                was, is_ = (getattr(phase, table)() for phase in (whole, changed))
                named = [name for name in ("bar", "target", "quantity", "price") if name in was.columns]
                was, is_ = (frame[frame["bar"] <= bar][named].reset_index(drop=True) for frame in (was, is_))
                assert was.equals(is_)
                checked += len(was)
            assert not whole.signals()["target"].equals(changed.signals()["target"])
    assert checked > 30


def test_a_strategy_sees_days_while_it_trades_half_hours(half_hours):
    with Coordinator("store") as coordinator:
        store = coordinator.workspace.store
        result = coordinator.execute_workflow(
            HALF_HOURS,
            ["data.resample=''", "strategies.cross.timeframe=1d", "strategies.cross.parameters.slow=5"],
        )
        phase = result.phase("backtest")
        signals = phase.signals()
        # A day is known at the close of its last half hour, at 16:00 in New York, and not before.
        assert {f"{time:%H:%M}" for time in signals["time"]} == {"19:30", "20:30"}
        assert 2 < len(signals) < len(days()) / 2
        explained = explain(store, f"{phase.stream}#{signals['n'].iloc[1]}")
        days_seen = explained.causes[0]
        assert days_seen.title == "feature fast = sma(period=3) of 1d"
        at = days().index(signals["time"].iloc[1].date())
        closes = [float(row.split(",")[4]) for row in half_hours][12::13]
        assert days_seen.values["close"] == closes[at]
        assert days_seen.values["value"] == pytest.approx(np.mean(closes[at - 2 : at + 1]), rel=1e-12)
        assert [each.outcome for each in coordinator.replay_workflow(result.run)] == ["identical"]
        assert verify_workspace(coordinator.workspace).violations == ()


def test_a_strategy_of_ones_own_may_mix_timeframes(half_hours, folder):
    (folder / "mixing.py").write_text(
        "import numpy as np\n"
        "from admf import feature, strategy\n\n"
        "trend, fast = feature('sma', period=3, timeframe='1d'), feature('sma', period=4)\n\n\n"
        "@strategy(features={'trend': trend, 'fast': fast})\n"
        "def mixing(close, trend, fast):\n"
        "    return np.where(np.isnan(trend), np.nan, np.where((close > trend) & (close > fast), 1.0, 0.0))\n"
    )
    workflow = {**HALF_HOURS, "strategies": [{"name": "mixing", "type": "mixing.py:mixing"}]}
    with Coordinator("memory://") as coordinator:
        phase = coordinator.execute_workflow(workflow, ["data.resample=''"]).phase("backtest")
        (started,) = coordinator.workspace.store.read(phase.stream, topics=("PhaseStarted",))
        assert started.event.features == ("sma(period=3) of 1d", "sma(period=4)")
        assert len(phase.trades()) > 10


def test_a_timeframe_that_has_no_effect_is_refused(half_hours, folder, refusal):
    (folder / "plain.py").write_text("def plain(close):\n    return close * 0.0\n")
    workflow = {**HALF_HOURS, "strategies": [{"type": "plain.py:plain", "timeframe": "1d"}]}
    assert "plain computes no features, so that a timeframe has no effect" in refusal(
        workflow, ConfigurationError
    )
    message = refusal(HALF_HOURS, ConfigurationError, ["strategies.cross.timeframe=30m"])
    assert "multiple of their timeframe, 1h; 30m is none" in message


def nanoseconds(time: str) -> int:
    return int(np.datetime64(time.removesuffix("Z"), "ns").astype(np.int64))


def scaled(row: str, factor: float) -> str:
    time, *prices, volume = row.split(",")
    return ",".join([time, *(repr(float(price) * factor) for price in prices), volume])


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("2020-01-14T21:00:00Z", "found one from 2020-01-14T14:30:00 to 2020-01-14T21:00:00"),
        ("2020-01-20T15:00:00Z", "found none on 2020-01-20"),
        ("2020-03-09T13:00:00Z", "found one from 2020-03-09T13:30:00 to 2020-03-09T20:00:00"),
    ],
)
def test_a_bar_outside_of_sessions_is_refused_with_its_row(half_hours, folder, refusal, time, reason):
    place = next(number for number, row in enumerate(half_hours) if row[:20] > time)
    write(folder / "half_hours.csv", [*half_hours[:place], time + half_hours[0][20:], *half_hours[place:]])
    message = refusal(HALF_HOURS, DataError)
    assert f"half_hours.csv, row {place + 2}, {time.removesuffix('Z')}: " in message
    assert reason in message


def test_sessions_without_bars_are_named_before_a_run(half_hours, folder):
    assert check_workflow(load_workflow(HALF_HOURS)).warnings == ()
    write(folder / "half_hours.csv", [row for row in half_hours if "2020-02-1" not in row[:9]])
    assert check_workflow(load_workflow(HALF_HOURS)).warnings == (
        "HALF_HOURS: 7 sessions of XNYS have no bars: 2020-02-10, 2020-02-11, 2020-02-12, 2020-02-13, "
        "2020-02-14, ...",
    )


def test_the_bundled_bars_are_those_of_all_sessions(folder):
    for name in ("sp500.csv", "nasdaq.csv"):
        bars = load_bars(find_data_file(name), "INDEX", "1d", Calendar("XNYS", "data.calendar"))
        assert (np.diff(session_numbers(bars, bars.sessions)) == 1).all()


def test_breaks_and_short_sessions_are_those_of_the_exchange(folder):
    """In Hong Kong (hkex.com.hk) 9:30 to 12:00 and 13:00 to 16:00 at UTC+8; to 12:00 on Christmas Eve."""
    write(folder / "hk.csv", [f"2019-12-{day},1,1,1,1,1" for day in (23, 24, 27)])
    bars = load_bars(folder / "hk.csv", "HK", "1d", Calendar("XHKG", "data.calendar"))
    first, last = session_numbers(bars, bars.sessions)[[0, -1]]
    columns = structs.astuple(bars.sessions)
    found = [[iso_time(column[session])[5:16] for column in columns] for session in range(first, last + 1)]
    assert found == [
        ["12-23", "12-23T01:30", "12-23T08:00", "12-23T04:00", "12-23T05:00"],
        ["12-24", "12-24T01:30", "12-24T04:00", "12-24T04:00", "12-24T04:00"],
        ["12-27", "12-27T01:30", "12-27T08:00", "12-27T04:00", "12-27T05:00"],
    ]


def test_a_calendar_or_timeframe_that_there_is_not_is_refused(half_hours, refusal):
    message = refusal(HALF_HOURS, UnknownNameError, ["data.calendar=XNYZ"])
    assert message.startswith("data.calendar: unknown calendar 'XNYZ'. Did you mean")
    message = refusal(HALF_HOURS, ConfigurationError, ["data.resample=45m"])
    assert "multiple of their timeframe, 30m; 45m is none" in message
    message = refusal(HALF_HOURS, DataError, ["data.calendar=XKRX"])
    assert "a bar must be dated inside of a session of XKRX" in message
