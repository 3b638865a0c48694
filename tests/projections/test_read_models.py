import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta

import msgspec
import numpy as np
import pytest
from admf.domain.errors import CorruptionError, StoreError
from admf.domain.events import OrdersFilled, WorkflowCanceled, WorkflowCompleted
from admf.eventstore.store import open_store
from admf.projections import projection
from admf.projections.comparison import compare
from admf.projections.database import Database
from admf.projections.read_models import ReadModels

RUN = "workflow_20261121_101500_ab12cd34"
STARTED = (f"{RUN}/training", "PhaseStarted")
FIRST_BAR = datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001 - times in an answer are naive
TABLES = (
    "runs",
    "phases",
    "feeds",
    "bars",
    "trials",
    "portfolio_metrics",
    "signals",
    "orders",
    "fills",
    "trades",
    "equity",
)


def contents(models):
    return {table: sorted(models.query(f"FROM {table}").rows, key=repr) for table in TABLES}


def rows(models, sql, *parameters):
    return list(models.query(sql, parameters).rows)


@pytest.fixture
def models(small_run):
    with ReadModels(None, small_run) as opened:
        yield opened


def test_a_run_tells_how_it_was_configured_and_how_it_ended(models):
    ((started, finished, *others),) = rows(
        models,
        "SELECT started_at, finished_at, run, name, status, seed, phases, configuration, package_version, "
        "error FROM runs",
    )
    assert others == [RUN, "small", "failed", 7, 3, '{"seed": 7}', "0.1.0", "phase testing: it raised"]
    assert started <= finished


@pytest.mark.parametrize(
    ("ending", "status", "error"),
    [(WorkflowCompleted(), "completed", None), (WorkflowCanceled(reason="by hand"), "canceled", "by hand")],
)
def test_a_run_that_failed_and_was_resumed_ends_as_it_ends_last(
    models, small_run, append, ending, status, error
):
    append(small_run, RUN, [ending])
    assert rows(models, "SELECT status, error FROM runs") == [(status, error)]


def test_phases_are_completed_failed_or_skipped(models):
    assert rows(
        models, "SELECT phase, type, status, events, rows, head_hash, error FROM phases ORDER BY phase"
    ) == [
        ("report", None, "skipped", None, None, None, "testing failed"),
        ("testing", "optimization", "failed", None, None, None, "StrategyError: it raised"),
        ("training", "optimization", "completed", 15, 33, "ab" * 32, None),
    ]
    assert rows(models, "SELECT output ->> '$.best.metrics.sharpe' FROM phases WHERE phase = 'training'") == [
        ("1.5",)
    ]


def test_trials_name_window_parameters_and_metrics(models):
    assert rows(models, "SELECT n, container, fold, segment, start_time, end_time FROM trials ORDER BY n")[
        :2
    ] == [
        (16, 0, None, "whole", FIRST_BAR, FIRST_BAR + timedelta(minutes=7)),
        (17, 1, 2, "test", FIRST_BAR + timedelta(minutes=1), FIRST_BAR + timedelta(minutes=6)),
    ]
    assert rows(models, "SELECT parameters FROM trials WHERE container IN (0, 1) ORDER BY n") == [
        ('{"momentum.lookback":3,"momentum.mode":"simple","momentum.strict":true}',),
        ('{"momentum.lookback":5,"momentum.mode":"it\'s \\"log\\"","momentum.strict":false}',),
    ]


def test_metrics_are_columns_and_a_metric_that_is_not_a_number_is_null(models):
    assert rows(models, "SELECT container, sharpe, final_equity FROM portfolio_metrics ORDER BY container")[
        :2
    ] == [
        (0, 1.5, 10_042.5),
        (1, None, 10_000.0),
    ]


def test_a_metric_that_appears_later_becomes_a_column(models, small_run, append, log_groups):
    assert models.catch_up() == 22
    *_, trials = log_groups[3][1]
    later = msgspec.structs.replace(
        trials, container=trials.container + 10, metrics={"Omega [1]": trials.first_bar / 2}
    )
    append(small_run, f"{RUN}/testing", [later])
    assert rows(
        models,
        'SELECT container, "Omega [1]", sharpe FROM portfolio_metrics WHERE container IN (0, 11) ORDER BY 1',
    ) == [(0, None, 1.5), (11, 0.5, None)]


def test_signals_name_strategy_symbol_and_time(models):
    assert rows(models, "SELECT n, container, strategy, symbol, bar, time, target FROM signals ORDER BY n")[
        :2
    ] == [
        (3, 0, "momentum", "SPY", 0, FIRST_BAR, 1.0),
        (4, 0, "momentum", "SPY", 3, FIRST_BAR + timedelta(minutes=3), -1.0),
    ]


def test_orders_tell_what_became_of_them(models):
    assert rows(
        models,
        "SELECT n, container, order_number, status, reason, available, outcome_n FROM orders "
        "WHERE run = ? AND phase = 'training' AND container < 2 ORDER BY n",
        RUN,
    ) == [
        (6, 0, 0, "filled", None, None, 12),
        (7, 0, 1, "filled", None, None, 13),
        (8, 0, 2, "filled", None, None, 14),
        (9, 0, 3, "canceled", "end_of_data", None, 15),
        (10, 1, 0, "denied", "below_one_unit", 12.5, 11),
    ]


def test_fills_carry_their_address_and_the_account_after_each(models):
    assert rows(
        models,
        "SELECT n, order_number, bar, quantity, price, fee, position, cash FROM fills "
        "WHERE container = 2 ORDER BY n",
    ) == [
        (27, 0, 1, 10.0, 100.0, 1.0, 10.0, 8_999.0),
        (28, 1, 4, -10.0, 103.0, 1.0, 0.0, 10_028.0),
        (29, 2, 4, -5.0, 103.0, 0.5, -5.0, 10_542.5),
    ]


def test_trades_name_the_fills_that_they_follow_from(models):
    assert rows(
        models,
        "SELECT number, side, status, quantity, entry_bar, exit_bar, exit_price, fee, pnl, return, bars, "
        "entry_n, exit_n FROM trades WHERE container = 2 ORDER BY number",
    ) == [
        (1, "long", "closed", 10.0, 1, 4, 103.0, 2.0, 28.0, 0.028, 3, 27, 28),
        (2, "short", "open", 5.0, 4, None, None, 0.5, 14.5, 14.5 / 515.0, 3, 29, None),
    ]


def test_bars_join_the_feeds_of_a_run(models):
    assert rows(
        models,
        "SELECT symbol, n, bar, time, close FROM feeds JOIN bars USING (stream) "
        "WHERE run = ? AND phase = 'training' ORDER BY n LIMIT 2",
        RUN,
    ) == [("SPY", 1, 0, FIRST_BAR, 100.0), ("SPY", 2, 1, FIRST_BAR + timedelta(minutes=1), 101.0)]


def test_equity_has_no_rows_where_fills_were_not_recorded(store, append, bars, log_groups, phase_started):
    started = msgspec.structs.replace(phase_started("training"), configuration='{"log": "metrics"}')
    *_, trials = log_groups[3][1]
    append(store, "bars-0123456789", [bars])
    append(store, f"{RUN}/training", [started, trials])
    with ReadModels(None, store) as models:
        assert rows(models, "SELECT count(*) FROM equity") == [(0,)]
        assert rows(models, "SELECT count(*) FROM trials") == [(2,)]


def test_fills_in_a_symbol_that_the_phase_does_not_read_are_refused(models, small_run, append, log_groups):
    filled = log_groups[3][1][3]
    mixed = msgspec.structs.replace(filled, symbol=filled.symbol + np.array([0, 0, 1], np.int16))
    append(small_run, f"{RUN}/testing", [mixed])
    with pytest.raises(CorruptionError, match="must be one of the phase's 1, found 1"):
        models.catch_up()


def test_fills_of_a_phase_that_never_started_are_refused(models, small_run, append, log_groups):
    append(small_run, f"{RUN}/ghost", [log_groups[3][1][3]])
    with pytest.raises(
        CorruptionError, match=f"{RUN}/ghost#1: OrdersFilled must come after the PhaseStarted"
    ):
        models.catch_up()


def test_events_that_can_not_be_projected_are_named_and_the_others_are_compared(models, small_run, tmp_path):
    file = tmp_path / "models.duckdb"
    with ReadModels(file, small_run) as kept:
        kept.catch_up()
    events = [each for each in small_run.read_all() if (each.stream, each.topic) != STARTED]
    with Database(file, 1.0).open() as recorder:
        found = compare(recorder, events).differences
    unprojected = [each.address for each in found if "can't be projected" in each.message]
    assert unprojected == [
        each.address
        for each in events
        if each.stream == STARTED[0] and each.topic not in ("PhaseStageEntered", "PhaseOutputEvent")
    ]
    assert {each.address.split()[0] for each in found} > {"phases", "fills", "trades", "trials"}
    assert not {each.address.split()[0] for each in found} & {"runs", "bars"}


def test_fills_out_of_container_order_keep_their_numbers(models, small_run, append, log_groups):
    filled = log_groups[3][1][3]
    columns = {name: getattr(filled, name) for name in filled.__struct_fields__}
    columns["container"] = np.array([8, 7, 8], np.int32)
    append(small_run, f"{RUN}/testing", [OrdersFilled(**columns)])
    assert rows(models, "SELECT n, container, position FROM fills WHERE phase = 'testing' ORDER BY n") == [
        (2, 8, 10.0),
        (3, 7, -10.0),
        (4, 8, 5.0),
    ]


def test_a_deleted_file_is_built_again_with_the_same_rows(small_run, tmp_path):
    path = tmp_path / "readmodels.duckdb"
    models = ReadModels(path, small_run)
    before = contents(models)
    path.unlink()
    assert contents(models) == before
    assert models.rebuild() == 22
    assert contents(models) == before


def test_many_catch_ups_equal_one(store, append, log_groups, tmp_path):
    steps = ReadModels(tmp_path / "steps.duckdb", store)
    for stream, events in log_groups:
        append(store, stream, events)
        assert steps.catch_up() == len(events)
    assert steps.catch_up() == 0
    assert contents(steps) == contents(ReadModels(tmp_path / "once.duckdb", store))


def test_the_events_of_a_shard_may_come_in_many_catch_ups(store, append, log_groups, tmp_path):
    steps = ReadModels(tmp_path / "steps.duckdb", store)
    for stream, events in log_groups:
        for event in events:
            append(store, stream, [event])
            assert steps.catch_up() == 1
    assert contents(steps) == contents(ReadModels(tmp_path / "once.duckdb", store))


@pytest.mark.parametrize("begun", ["before", "between", "after"])
def test_trades_of_a_shard_follow_from_all_its_fills(store, append, log_groups, begun):
    (bars, workflow, started, shard, *_) = log_groups
    training, (*_, filled, _, trials) = shard
    columns = {name: getattr(filled, name) for name in filled.__struct_fields__}
    of_both = [
        OrdersFilled(**{**columns, "container": np.full(3, container, np.int32)}) for container in (1, 0)
    ]
    with ReadModels(None, store) as models:
        for stream, events in (bars, workflow, started):
            append(store, stream, events)
        for event, moment in zip((*of_both, trials), ("before", "between", "after"), strict=True):
            if moment == begun:
                models.catch_up()
            append(store, training, [event])
        assert rows(
            models, "SELECT container, number, pnl, entry_n, exit_n FROM trades ORDER BY container, number"
        ) == [(0, 1, 28.0, 6, 7), (0, 2, 14.5, 8, None), (1, 1, 28.0, 3, 4), (1, 2, 24.5, 5, None)]


def test_trials_that_end_with_a_bar_that_is_not_in_the_log_are_refused(models, small_run, append, log_groups):
    *_, filled, _, trials = log_groups[3][1]
    beyond = msgspec.structs.replace(trials, stop_bar=trials.stop_bar + 100)
    append(small_run, f"{RUN}/testing", [filled, beyond])
    with pytest.raises(CorruptionError, match=f"bar 107 of symbol 0 must come before the trials of {RUN}/te"):
        models.catch_up()


def test_groups_of_any_size_make_the_same_rows(small_run, models, monkeypatch):
    monkeypatch.setattr(projection, "GROUP", 1)
    with ReadModels(None, small_run) as one_by_one:
        assert contents(one_by_one) == contents(models)


CATCH_UP_AND_DIE = """
import os, signal, sys
from pathlib import Path
from admf.eventstore.store import open_store
from admf.projections import projection, read_models, recorder

log, file, survived = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
insert, count = recorder.insert_rows, 0

def insert_or_die(*arguments):
    global count
    insert(*arguments)
    count += 1
    if count > survived:
        os.kill(os.getpid(), signal.SIGKILL)

recorder.insert_rows = insert_or_die
projection.GROUP = 5
read_models.ReadModels(file, open_store(log)).catch_up()
"""


@pytest.mark.parametrize("survived", [0, 4, 7, 12])
def test_a_catch_up_that_was_killed_repeats_and_loses_no_row(append, log_groups, tmp_path, survived):
    log, path = tmp_path / "events.sqlite", tmp_path / "killed.duckdb"
    with open_store(log) as store:
        for stream, events in log_groups:
            append(store, stream, events)

        arguments = [sys.executable, "-c", CATCH_UP_AND_DIE, str(log), str(path), str(survived)]
        assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL

        assert contents(ReadModels(path, store)) == contents(ReadModels(tmp_path / "whole.duckdb", store))


def test_read_models_ahead_of_the_log_are_refused(small_run, tmp_path):
    path = tmp_path / "readmodels.duckdb"
    ReadModels(path, small_run).catch_up()
    with (
        open_store("memory://") as empty,
        pytest.raises(CorruptionError, match=r"log ends at position 0.*delete"),
    ):
        ReadModels(path, empty).catch_up()


def test_read_models_of_another_log_are_refused(small_run, append, log_groups, tmp_path):
    path = tmp_path / "readmodels.duckdb"
    ReadModels(path, small_run).catch_up()
    with open_store("memory://") as other:
        for stream, events in log_groups:
            append(other, stream.replace("ab12cd34", "ffffffff"), events)
        with pytest.raises(CorruptionError, match="made from another log"):
            ReadModels(path, other).query("SELECT 1")


def test_a_file_that_is_not_of_duckdb_is_refused_with_the_remedy(small_run, tmp_path):
    path = tmp_path / "readmodels.duckdb"
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(CorruptionError, match="Delete the file"):
        ReadModels(path, small_run).catch_up()


HOLD_OPEN = """
import sys, duckdb
with duckdb.connect(sys.argv[1]):
    print("open", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other_process(small_run, tmp_path):
    """Another process that has the file open until its standard input has a line."""
    path = tmp_path / "readmodels.duckdb"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_OPEN, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def test_a_use_waits_until_another_process_has_closed_the_file(small_run, tmp_path, other_process):
    let_go = threading.Timer(0.3, lambda: other_process.communicate("\n"))
    let_go.start()
    assert ReadModels(tmp_path / "readmodels.duckdb", small_run).catch_up() == 22
    let_go.join()


def test_a_use_gives_up_when_another_process_keeps_the_file(small_run, tmp_path, other_process):
    with pytest.raises(StoreError, match=rf"free within 0.2 seconds.*PID {other_process.pid}"):
        ReadModels(tmp_path / "readmodels.duckdb", small_run, patience=0.2).catch_up()
