"""Bars that a caller has in memory as a pandas data frame."""

import admf
import numpy as np
import pandas as pd
import pytest
from admf.coordinator.market.frames import frame_bars
from admf.coordinator.market.market_data import find_data_file
from admf.domain.errors import DataError

WORKFLOW = {"workflow": "backtest", "strategy": "sma_crossover", "data": {"file": "mine", "symbol": "SP500"}}


def frame() -> pd.DataFrame:
    return pd.read_csv(find_data_file("sp500.csv"), parse_dates=["Date"])


def test_a_run_over_a_frame_is_that_over_the_file_to_the_last_bit() -> None:
    with admf.Coordinator("memory://") as coordinator:
        of_frame = coordinator.execute_workflow(WORKFLOW, frames={"mine": frame()})
        of_file = coordinator.execute_workflow({**WORKFLOW, "data": {"file": "sp500.csv"}})
        streams = [
            coordinator.workspace.store.head(f"{one.run}/backtest").content_hash
            for one in (of_frame, of_file)
        ]
        feeds = coordinator.workspace.read_models.query("SELECT DISTINCT stream FROM feeds").rows
        again = coordinator.replay_workflow(of_frame.run)
    assert of_frame.phase("backtest").output.metrics == of_file.phase("backtest").output.metrics
    assert len(feeds) == 1
    assert len(set(streams)) == 2, "the configuration names another source"
    assert all(phase.difference is None for phase in again)


def test_what_the_caller_does_to_the_frame_afterwards_changes_nothing() -> None:
    given = frame()
    bars = frame_bars(given, "mine", "SP500", "1d")
    before = bars.close.copy()
    given["Close"] = 1.0
    np.testing.assert_array_equal(bars.close, before)


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_times_may_be_the_index_in_any_unit_and_zone(zone: str | None) -> None:
    given = frame()
    index = pd.DatetimeIndex(given.pop("Date")).as_unit("s").tz_localize("UTC")
    given.index = index.tz_localize(None) if zone is None else index.tz_convert(zone)
    expected = frame_bars(frame(), "mine", "SP500", "1d")
    np.testing.assert_array_equal(frame_bars(given, "mine", "SP500", "1d").time, expected.time)


def test_a_frame_without_volume_has_none() -> None:
    assert not frame_bars(frame().drop(columns="Volume"), "mine", "SP500", "1d").volume.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given.drop(columns="High"), "there must be a column high, found Date, Open"),
        (lambda given: given.drop(columns="Date"), "times must be dates"),
        (lambda given: given.assign(Close="x"), "the column Close must hold numbers"),
        (lambda given: given.assign(Low=given["Low"].where(given.index != 7)), "row 7, 1999-.*finite number"),
        (lambda given: given.assign(Date=given["Date"].where(given.index != 3)), "row 3: each row must have"),
        (lambda given: given.iloc[::-1], "row 1: unsorted time"),
    ],
)
def test_a_frame_that_is_doubtful_is_refused_by_row(change: object, message: str) -> None:
    assert callable(change)
    with pytest.raises(DataError, match=message):
        frame_bars(change(frame()), "mine", "SP500", "1d")
