"""Several symbols in one account, and interest, from YAML to the read models and back to the bars."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pytest
from admf import Coordinator
from admf.coordinator.audit.account_explanation import explain_metric, explain_trade
from admf.coordinator.audit.explanation import Explanation, explain
from admf.coordinator.audit.phase_audit import PhaseAudit
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.cli import app
from admf.coordinator.market.market_log import MarketLog
from admf.coordinator.result import WorkflowResult
from admf.coordinator.streams.archive import import_archive
from admf.coordinator.streams.export import export_run
from admf.coordinator.streams.workspace import Workspace
from admf.coordinator.workflows.check import check_workflow
from admf.coordinator.workflows.loading import load_workflow
from admf.domain.errors import ConfigurationError, CorruptionError, UnknownNameError
from admf.domain.events import InterestCharged, OrdersFilled
from admf.projections.fold import Fold
from admf.projections.projection import apply
from admf.projections.recorder import DuckDBRecorder
from admf.projections.schema import create
from admf.projections.timeline import read_timeline
from typer.testing import CliRunner

BUNDLED = Path(__file__).parents[2] / "configs" / "data"
RUN = "workflow_20261121_101500_0000abcd"
PAIR = """
name: pair
data: {files: {SPX: spx.csv, IXIC: ixic.csv}, start: 1999-04-01}
execution:
  commission: {percent: 0.05}
  slippage: {bps: 2}
  margin: {leverage: 2, maintenance: 20, borrow_rate: 3, interest_rate: 6}
risk: {position_sizers: [{type: percentage, percentage: 180}]}
strategies:
  - {name: large, type: sma_crossover, parameters: {fast: 5, slow: 20}, symbols: [SPX], weight: 0.4}
  - {name: tech, type: momentum, symbols: [IXIC], weight: 0.4}
  - {name: both, type: rsi, weight: 0.2}
workflow:
  - name: search
    type: optimization
    shard_size: 2
    data: {end: 2000-06-30}
    optimization: {parameters: {large.fast: [3, 5, 8], large.slow: [20, 30]}}
  - {name: test, type: validation, inherit_best_from: search, data: {start: 2000-07-01}}
  - name: folds
    type: validation
    strategies: [{name: cross, type: sma_crossover, parameters: {fast: 5, slow: 20}}]
    walk_forward: {train_size: 200, test_size: 100}
"""
PHASES = ("search", "test", "folds")
Heads = Callable[[WorkflowResult], dict[str, str]]
Edit = Callable[[str], str]


def lines(name: str) -> list[str]:
    return gzip.open(BUNDLED / name, "rt").read().splitlines()


def write_inputs(folder: Path) -> None:
    """600 days of the S&P 500; of the Nasdaq, six of seven days, from the 20th to the 560th."""
    (folder / "spx.csv").write_text("\n".join(lines("sp500.csv.gz")[:601]))
    head, *rows = lines("nasdaq.csv.gz")
    days = [row for number, row in enumerate(rows[20:560]) if number % 7]
    (folder / "ixic.csv").write_text("\n".join([head, *days]))
    (folder / "pair.yaml").write_text(PAIR)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Coordinator, WorkflowResult]]:
    folder = tmp_path_factory.mktemp("pair")
    write_inputs(folder)
    with Coordinator(folder / "store") as coordinator:
        yield coordinator, coordinator.execute_workflow(folder / "pair.yaml")


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADMF_STORE", raising=False)
    write_inputs(tmp_path)
    return tmp_path


@pytest.fixture
def heads_of(inputs: Path, heads: Heads) -> Callable[[Edit], dict[str, str]]:
    """Run the workflow with its text edited."""

    def of(edit: Edit) -> dict[str, str]:
        assert edit(PAIR) != PAIR
        (inputs / "edited.yaml").write_text(edit(PAIR))
        with Coordinator("memory://") as coordinator:
            return heads(coordinator.execute_workflow("edited.yaml"))

    return of


def ask(run: tuple[Coordinator, WorkflowResult], sql: str) -> list[tuple[object, ...]]:
    return list(run[0].workspace.read_models.query(sql).rows)


def walk(explanation: Explanation) -> Iterator[Explanation]:
    yield explanation
    for cause in explanation.causes:
        yield from walk(cause)


def test_the_equity_of_the_read_models_is_what_the_simulation_measured(run):
    rows = ask(
        run,
        """
        WITH curves AS (
            SELECT phase, container, arg_max(equity, bar) AS final, max(drawdown) AS drawdown
            FROM equity GROUP BY ALL
        ), held AS (
            SELECT phase, container, bar, bool_or(position <> 0) AS held FROM positions GROUP BY ALL
        ), exposures AS (SELECT phase, container, avg(held::INTEGER) AS exposure FROM held GROUP BY ALL)
        SELECT m.final_equity, c.final, m.max_drawdown, c.drawdown, m.exposure, e.exposure
        FROM portfolio_metrics m
        JOIN curves c USING (phase, container) JOIN exposures e USING (phase, container)
        """,
    )
    found = np.array(rows, float)
    assert (len(found),) == ask(run, "SELECT count(*) FROM trials")[0]
    np.testing.assert_allclose(found[:, 0::2], found[:, 1::2], rtol=1e-9)


def test_there_is_equity_at_every_time_at_which_any_symbol_has_a_bar(run):
    days = {
        row[0] for row in ask(run, "SELECT time FROM bars JOIN feeds USING (stream) WHERE phase = 'test'")
    }
    start, end = ask(run, "SELECT start_time, end_time FROM trials WHERE phase = 'test'")[0]
    expected = sorted(day for day in days if start <= day <= end)
    curve = ask(run, "SELECT time, bar FROM equity WHERE phase = 'test' ORDER BY bar")
    assert [day for day, _ in curve] == expected
    assert (
        len(expected) > len(ask(run, "SELECT 1 FROM positions WHERE phase = 'test' AND symbol = 'IXIC'")) - 1
    )


def test_trades_and_interest_account_for_all_of_the_gain(run):
    rows = ask(
        run,
        """
        WITH profits AS (SELECT phase, container, sum(pnl) AS profit FROM trades GROUP BY ALL),
        costs AS (SELECT phase, container, sum(amount) AS cost FROM interest GROUP BY ALL)
        SELECT m.final_equity, 100000, profit, cost
        FROM portfolio_metrics m
        JOIN profits USING (phase, container) JOIN costs USING (phase, container)
        """,
    )
    final, capital, profit, interest = np.array(rows, float).T
    assert (interest > 0).all()
    np.testing.assert_allclose(final - capital, profit - interest, rtol=1e-9, atol=1e-6)


def test_cash_after_a_fill_is_after_the_interest_of_its_bar(run):
    """The account is kept anew here, by the times of fills and charges alone."""
    moves = ask(
        run,
        """
        SELECT time, 0 AS what, n, -amount AS flow, NULL AS cash, NULL AS symbol, 0 AS quantity, 0 AS position
        FROM interest WHERE phase = 'test'
        UNION ALL
        SELECT time, 1, n, -quantity * price - fee, cash, symbol, quantity, position FROM fills
        WHERE phase = 'test' ORDER BY ALL
        """,
    )
    cash, held = 100_000.0, {"SPX": 0.0, "IXIC": 0.0}
    assert {what for _, what, *_ in moves} == {0, 1}
    for _, what, _, flow, recorded, symbol, quantity, position in moves:
        cash += flow
        if what == 1:
            held[symbol] += quantity
            assert recorded == pytest.approx(cash, rel=1e-9)
            assert position == pytest.approx(held[symbol], abs=1e-9)


def test_trades_are_numbered_in_the_order_of_their_entries_whatever_their_symbol(run):
    rows = ask(run, "SELECT number, symbol FROM trades WHERE phase = 'test' ORDER BY entry_n")
    assert [number for number, _ in rows] == list(range(1, len(rows) + 1))
    assert {symbol for _, symbol in rows} == {"SPX", "IXIC"}
    assert ask(run, "SELECT count(*) FROM trades WHERE entry_time >= exit_time") == [(0,)]


def test_times_of_windows_and_of_interest_are_those_of_the_timeline(run):
    windows = ask(run, "SELECT phase, min(start_time)::TEXT, max(end_time)::TEXT FROM trials GROUP BY ALL")
    assert sorted(windows)[1:] == [
        ("search", "1999-04-01 00:00:00", "2000-06-30 00:00:00"),
        ("test", "2000-07-03 00:00:00", "2001-05-18 00:00:00"),
    ]
    assert ask(run, "SELECT count(*) FROM interest WHERE time IS NULL") == [(0,)]
    assert {row[0] for row in ask(run, "SELECT DISTINCT symbol FROM interest")} == {"SPX", "IXIC", None}


def test_it_verifies(run):
    verified = verify_workspace(run[0].workspace)
    assert verified.violations == ()
    assert verified.checked.metrics > 300


def at(row: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def changed(column: np.ndarray) -> np.ndarray:
        column = column.copy()
        column[row] = value
        return column

    return changed


@pytest.mark.parametrize(
    ("kind", "column", "change", "rule", "message"),
    [
        (OrdersFilled, "bar", at(-1, 100_000), "bar", "bar 100000 of container 0 must be one of its bars"),
        (OrdersFilled, "bar", at(-1, 0), "bar", "must be one of its bars, 378 to 599 on the timeline"),
        (OrdersFilled, "symbol", at(0, 2), "bar", "symbol 2 must be one of the phase's 2"),
        (OrdersFilled, "quantity", lambda column: column * 2, "metrics", "as follows from its fills"),
        (InterestCharged, "amount", lambda column: column * 2, "metrics", "as follows from its fills"),
        (InterestCharged, "symbol", at(0, -2), "bar", "symbol -2 must be one of the phase's 2"),
        (InterestCharged, "bar", lambda column: column[::-1], "bar", "must go on in time"),
    ],
)
def test_what_was_changed_in_the_account_of_several_symbols_is_found(
    run, kind, column, change, rule, message
):
    store, stream = run[0].workspace.store, run[1].phase("test").stream
    audit, found = PhaseAudit(stream, MarketLog(store)), []
    for recorded in store.read(stream):
        event = recorded.event
        if isinstance(event, kind):
            event = msgspec.structs.replace(event, **{column: change(getattr(event, column))})
        found += audit.take(recorded, event)
    assert any(violation.rule == rule and message in violation.message for violation in found), found


def test_the_timeline_of_the_read_models_is_that_of_the_simulation(run):
    result, store = run[1], run[0].workspace.store
    (started,) = store.read(result.phase("test").stream, topics=("PhaseStarted",))
    panel = MarketLog(store).panel(started.event.feeds)
    with duckdb.connect() as connection:
        recorder = DuckDBRecorder(connection)
        create(recorder)
        with recorder.transaction():
            for recorded in store.read_all():
                apply(recorded.event, recorded, Fold(recorder))
        (key,) = recorder.one("SELECT phase_key FROM data.phases WHERE phase = 'test'")
        timeline = read_timeline(recorder, key, "run/test")
    for symbol, (at_places, own) in enumerate(zip(panel.at, panel.own, strict=True)):
        bars, places = np.arange(at_places.size, dtype=np.int32), np.arange(len(panel), dtype=np.int32)
        np.testing.assert_array_equal(timeline.places(np.full(bars.size, symbol), bars), at_places)
        np.testing.assert_array_equal(timeline.own_bars(np.full(places.size, symbol), places), own)
        with pytest.raises(CorruptionError, match=f"symbol {symbol} has {bars.size} bars in the log"):
            timeline.places(np.full(1, symbol), np.array([bars.size]))
    with pytest.raises(CorruptionError, match="must be one of the phase's 2, found 2"):
        timeline.places(np.full(1, 2), np.zeros(1, np.int32))


@pytest.mark.parametrize("level", ["fills", "metrics"])
def test_it_verifies_with_less_in_the_log(inputs, run, level):
    with Coordinator("memory://") as coordinator:
        result = coordinator.execute_workflow("pair.yaml", [f"log={level}"])
        assert verify_workspace(coordinator.workspace).violations == ()
        curve = result.phase("test").equity()
        metrics = result.phase("test").output.metrics
    assert metrics == run[1].phase("test").output.metrics
    if level == "metrics":
        assert curve.empty
    else:
        assert curve.equals(run[1].phase("test").equity())


def test_signals_are_followed_symbol_by_symbol(inputs):
    risk = "  - {name: again, type: signal_replay, signals_from: search, trials: all}\n"
    (inputs / "again.yaml").write_text(PAIR[: PAIR.index("  - name: folds")] + risk)
    with Coordinator("memory://") as coordinator:
        result = coordinator.execute_workflow("again.yaml")
        first, second = (result.phase(name) for name in ("search", "again"))
        for table in ("trades", "fills"):
            was, is_ = (getattr(phase, table)() for phase in (first, second))
            compared = [name for name in was.columns if name != "n" and not name.endswith("_n")]
            assert len(was) > 300
            assert was[compared].equals(is_[compared])
        assert verify_workspace(coordinator.workspace).violations == ()


def test_read_models_that_stop_after_any_event_go_on_as_if_they_had_not(run):
    with duckdb.connect() as connection:
        recorder = DuckDBRecorder(connection)
        create(recorder)
        for recorded in run[0].workspace.store.read_all():
            with recorder.transaction():
                apply(recorded.event, recorded, Fold(recorder))
        for table in ("fills", "trades", "interest", "trials", "equity"):
            sql = f"SELECT * FROM {table} ORDER BY ALL"
            assert connection.execute(sql).fetchall() == ask(run, sql), table


def test_a_metric_is_walked_back_to_trades_in_both_symbols_and_to_interest(run):
    coordinator, result = run
    store, stream = coordinator.workspace.store, result.phase("test").stream
    explained = explain_metric(store, stream, "total_return", formulas={}, trades=4)
    trades = result.phase("test").trades()
    assert {trade.values["symbol"] for trade in explained.causes} == {"SPX", "IXIC"}
    assert explained.values["trades"] == len(trades)
    assert explained.values["total pnl"] == pytest.approx(trades["pnl"].sum(), rel=1e-12)
    (paid,) = ask(run, "SELECT sum(amount) FROM interest WHERE phase = 'test'")
    assert explained.values["total interest"] == pytest.approx(paid[0], rel=1e-12)
    for number, trade in enumerate(explained.causes, start=1):
        assert trade == explain_trade(store, stream, 0, number)
        for name in ("symbol", "quantity", "entry_price", "pnl"):
            assert trade.values[name] == trades.set_index("number").loc[number, name]
        symbols = {step.values.get("symbol", trade.values["symbol"]) for step in walk(trade)}
        assert symbols == {trade.values["symbol"]}


@pytest.mark.parametrize("symbol", ["SPX", "IXIC"])
def test_every_fill_is_walked_back_to_bars_of_its_own_symbol(run, symbol):
    coordinator, result = run
    phase = result.phase("test")
    fills = phase.fills()
    fill = fills[fills["symbol"] == symbol].sort_values("n").iloc[3]
    explained = explain(coordinator.workspace.store, f"{phase.stream}#{fill['n']}")
    ((stream,),) = ask(run, f"SELECT stream FROM feeds WHERE phase = 'test' AND symbol = '{symbol}'")
    assert {step.values["symbol"] for step in walk(explained) if "symbol" in step.values} == {symbol}
    bars = {step.address.partition("#")[0] for step in walk(explained) if step.address.startswith("bars-")}
    assert bars == {stream}
    executed = explained.causes[-1]
    assert executed.values["time"] == fill["time"].strftime("%Y-%m-%d")


@pytest.mark.parametrize("symbol", ["SPX", "IXIC", None])
def test_interest_is_explained_by_what_was_borrowed(run, symbol):
    coordinator, result = run
    stream = result.phase("test").stream
    chosen = f"symbol = '{symbol}'" if symbol else "symbol IS NULL"
    rows = ask(run, f"SELECT n, amount FROM interest WHERE phase = 'test' AND {chosen} ORDER BY n")
    for n, amount in (rows[0], rows[len(rows) // 2], rows[-1]):
        explained = explain(coordinator.workspace.store, f"{stream}#{n}")
        said = explained.values
        base = said["units"] * said["close"] if symbol else said["borrowed"]
        assert said["amount"] == amount == pytest.approx(base * said["rate"] / 100 * said["days"] / 365)
        assert explained.causes[0].title == "fill"
        assert symbol in (None, explained.causes[0].values["symbol"])


def test_events_of_the_log_name_their_symbols_and_times(run):
    coordinator, result = run
    arguments = ["events", result.phase("test").stream, "--type", "InterestCharged", "--json"]
    store = ["--store", str(coordinator.workspace.name)]
    events = json.loads(CliRunner().invoke(app, [*arguments, "--limit", "10000", *store]).stdout)
    rows = ask(run, "SELECT n, symbol, time::DATE::TEXT FROM interest WHERE phase = 'test' ORDER BY n")
    found = [(event["fields"]["symbol"], event["time"]) for event in events["events"]]
    assert found == [(symbol, time) for _, symbol, time in rows]
    one = json.loads(
        CliRunner().invoke(app, [*arguments, "--symbol", "IXIC", "--since", "2001-01-01", *store]).stdout
    )
    assert {event["fields"]["symbol"] for event in one["events"]} == {"IXIC"}


def test_results_are_frames_and_screens(run):
    coordinator, result = run
    phase = result.phase("test")
    curve = phase.equity()
    assert curve["equity"].iloc[-1] == pytest.approx(phase.output.metrics["final_equity"], rel=1e-9)
    assert curve["position"].isna().all()
    assert set(phase.fills()["symbol"]) == {"SPX", "IXIC"}
    interest = ask(run, "SELECT max(n) FROM interest WHERE phase = 'test'")[0][0]
    for command in (
        ["show", result.run],
        ["compare", result.run, result.run],
        ["explain", phase.stream, "--metric", "fees"],
        ["explain", f"{phase.stream}#{interest}"],
    ):
        answer = CliRunner().invoke(app, [*command, "--store", coordinator.workspace.name])
        assert answer.exit_code == 0, answer.output


def test_it_is_exported_and_imported(run, tmp_path):
    coordinator, result = run
    export_run(coordinator.workspace.store, result.run, kind="parquet", target=tmp_path / "tables")
    tables = {path.stem: path for path in (tmp_path / "tables").iterdir()}
    best = {name: phase.output.best for name, phase in result.phases.items()}
    chosen = {(name, trial.container) for name, trial in best.items() if trial}
    with duckdb.connect() as connection:
        for table in ("positions", "equity"):
            found = connection.execute(f"SELECT DISTINCT phase, container FROM '{tables[table]}'").fetchall()
            assert set(found) == chosen
    (archive,) = export_run(coordinator.workspace.store, result.run, target=tmp_path / "run.admf")
    with Workspace(tmp_path / "other") as other:
        import_archive(other.store, archive)
        assert verify_workspace(other).violations == ()
        rows = other.read_models.query("SELECT * EXCLUDE run FROM fills ORDER BY ALL").rows
    assert list(rows) == ask(run, "SELECT * EXCLUDE run FROM fills ORDER BY ALL")


def test_it_replays_and_forks_without_its_files(inputs, heads):
    with Coordinator("store") as coordinator:
        result = coordinator.execute_workflow("pair.yaml")
        for file in inputs.glob("*.csv"):
            file.unlink()
        replays = coordinator.replay_workflow(result.run)
        assert {each.phase: each.outcome for each in replays} == dict.fromkeys(PHASES, "identical")
        fork = coordinator.fork_workflow(result.run, "test", ["test.execution.margin.borrow_rate=0"])
        assert fork.status == "completed"
        assert heads(fork)["search"] == heads(result)["search"]
        assert heads(fork)["test"] != heads(result)["test"]
        assert heads(fork)["folds"] == heads(result)["folds"]
        assert verify_workspace(coordinator.workspace).violations == ()


def test_killed_at_any_append_it_is_resumed_to_the_same_hashes(inputs, run, heads, killed):
    expected = heads(run[1])
    raw = str(inputs / "pair.yaml")
    appends = killed("whole", "execute_workflow", raw, at=0, run=RUN)
    assert appends is not None
    for fatal in range(3, appends, 2):
        store = inputs / f"store{fatal}"
        assert killed(store, "execute_workflow", raw, at=fatal, run=RUN) is None
        with Coordinator(store) as coordinator:
            assert heads(coordinator.resume_workflow(RUN)) == expected


def test_another_order_of_the_files_changes_nothing(heads_of, run, heads):
    def swapped(text: str) -> str:
        return text.replace("SPX: spx.csv, IXIC: ixic.csv", "IXIC: ixic.csv, SPX: spx.csv")

    assert heads_of(swapped) == heads(run[1])


def test_all_symbols_by_name_are_the_default(heads_of, run, heads):
    def named(text: str) -> str:
        return text.replace("type: rsi,", "type: rsi, symbols: [SPX, IXIC],")

    phases = heads_of(named)
    assert phases["folds"] == heads(run[1])["folds"]


def test_an_idle_symbol_changes_no_trade(inputs):
    own = {"name": "large", "type": "sma_crossover", "parameters": {"fast": 5, "slow": 20}}
    shared = {
        "capital": 50_000,
        "execution": {"margin": {"leverage": 2, "borrow_rate": 4, "interest_rate": 8}},
        "risk": {"position_sizers": [{"type": "percentage", "percentage": 150}], "stop_loss": 3},
        "workflow": "backtest",
    }
    with Coordinator("memory://") as coordinator:
        alone = coordinator.execute_workflow(
            {"data": {"file": "spx.csv"}, "strategies": [own], **shared}
        ).phase("backtest")
        beside = coordinator.execute_workflow(
            {
                "data": {"files": {"AAA": "ixic.csv", "SPX": "spx.csv"}},
                "strategies": [{**own, "symbols": ["SPX"]}],
                **shared,
            }
        ).phase("backtest")
        for table in ("trades", "fills", "orders", "signals"):
            was, is_ = (
                getattr(phase, table)().drop(columns="n", errors="ignore") for phase in (alone, beside)
            )
            left_out = [name for name in was.columns if name.endswith("_n")]
            assert was.drop(columns=left_out).equals(is_.drop(columns=left_out)), table
        was, is_ = (phase.equity()["equity"] for phase in (alone, beside))
        assert len(was) > 500
        np.testing.assert_array_equal(was, is_)


def test_a_symbol_without_bars_between_the_dates_is_reported(inputs):
    before, after = (
        check_workflow(load_workflow("pair.yaml", changes)).warnings
        for changes in ([], ["test.data.start=2001-05-01"])
    )
    assert set(after) - set(before) == {"test: IXIC has no bar between its dates."}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, r"data: name either one `file`, or `files` by symbol; it has neither"),
        ({"file": "a.csv", "files": {"A": "a.csv"}}, r"data: name either one `file`.*it has both"),
        ({"files": {"A": "a.csv"}, "symbol": "A"}, r"data: `symbol` names that of `file`"),
        ({"files": {"A": ""}}, r"data: `files` must map symbols to files"),
    ],
)
def test_data_must_have_one_form(inputs, data, message):
    workflow = {"data": data, "strategy": "rsi", "workflow": "backtest"}
    with pytest.raises(ConfigurationError, match=message), Coordinator("memory://") as coordinator:
        coordinator.execute_workflow(workflow)


def test_a_strategy_must_name_symbols_of_its_phase(inputs):
    with Coordinator("memory://") as coordinator:
        with pytest.raises(UnknownNameError, match=r"strategies\[0\]\.symbols: unknown symbol 'SPY'.*SPX"):
            coordinator.execute_workflow("pair.yaml", ["strategies.large.symbols=[SPY]"])
        with pytest.raises(ConfigurationError, match="symbols must differ"):
            coordinator.execute_workflow("pair.yaml", ["strategies.large.symbols=[SPX, SPX]"])
