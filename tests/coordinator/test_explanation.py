"""Every figure can be walked back to the bars that made it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from admf import Coordinator
from admf.coordinator.audit.account_explanation import explain_metric, explain_trade
from admf.coordinator.audit.explanation import Explanation, explain
from admf.coordinator.cli import app
from admf.coordinator.result import WorkflowResult
from admf.domain.errors import ConfigurationError, NotFoundError, UnknownNameError
from admf.eventstore.store import EventStore
from typer.testing import CliRunner

Run = tuple[EventStore, WorkflowResult]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """A search and a test of its best, over the bundled bars."""
    with Coordinator("memory://") as coordinator:
        result = coordinator.execute_workflow("train_test")
        yield coordinator.workspace.store, result


def walk(explanation: Explanation) -> Iterator[Explanation]:
    yield explanation
    for cause in explanation.causes:
        yield from walk(cause)


def titles(explanation: Explanation) -> list[str]:
    return [step.title for step in walk(explanation)]


def stream(result: WorkflowResult, phase: str) -> str:
    return result.phase(phase).stream


def test_a_fill_is_walked_back_through_order_signal_and_features_to_its_bars(run: Run) -> None:
    store, result = run
    name = stream(result, "out_of_sample")
    fill = result.phase("out_of_sample").fills().sort_values("n").iloc[0]
    explained = explain(store, f"{name}#{fill['n']}")
    assert titles(explained) == [
        "fill",
        "order",
        "signal of cross",
        "feature fast = sma(period=50)",
        "feature slow = sma(period=200)",
        "decided at bar",
        "executed in bar",
    ]
    assert explained.values["price"] == fill["price"]
    assert explained.values["quantity"] == fill["quantity"]


def test_each_address_of_a_chain_leads_to_what_it_names(run: Run) -> None:
    store, result = run
    name = stream(result, "out_of_sample")
    tables = {"fill": result.phase("out_of_sample").fills(), "order": result.phase("out_of_sample").orders()}
    checked = 0
    for number in tables["fill"]["n"]:
        for step in walk(explain(store, f"{name}#{number}")):
            where, _, place = step.address.rpartition("#")
            if step.title in tables:
                rows = tables[step.title]
                (row,) = rows[rows["n"] == int(place)].to_dict("records")
                assert (row["container"], row["bar"]) == (step.values["container"], step.values["bar"])
                checked += 1
            elif "bar" in step.title:
                assert where.startswith("bars-")
                assert int(place) == int(step.values["bar"]) + 1
                assert store.event_at(where, int(place)).topic == "BarsLoaded"
    assert checked == 2 * len(tables["fill"])


def test_features_are_computed_anew_from_the_bars_up_to_that_one(run: Run) -> None:
    store, result = run
    file = Path(__file__).parents[2] / "configs" / "data" / "sp500.csv"
    close = pd.read_csv(next(path for path in (file, file.with_suffix(".csv.gz")) if path.exists()))["Close"]
    for period, argument in ((50, "fast"), (200, "slow")):
        mean = close.rolling(period).mean()
        seen = 0
        for number in result.phase("out_of_sample").fills()["n"]:
            for step in walk(explain(store, f"{stream(result, 'out_of_sample')}#{number}")):
                if step.title.startswith("signal"):
                    bar = int(step.values["bar"])
                if step.title == f"feature {argument} = sma(period={period})":
                    assert step.values["value"] == pytest.approx(mean[bar], rel=1e-9)
                    assert step.values["value before"] == pytest.approx(mean[bar - 1], rel=1e-9)
                    assert step.values["close"] == pytest.approx(close[bar], rel=1e-12)
                    seen += 1
        assert seen > 5


def test_every_trade_of_the_read_models_is_explained_with_the_same_values(run: Run) -> None:
    store, result = run
    name = stream(result, "training")
    trades = result.phase("training").trades()
    trades = trades[trades["container"].isin([0, 24])]
    assert {"open", "closed"} == set(trades["status"])
    for trade in trades.to_dict("records"):
        explained = explain_trade(store, name, int(trade["container"]), int(trade["number"]))
        assert explained.title == f"{trade['status']} {trade['side']} trade"
        for value in ("quantity", "entry_price", "fee", "pnl"):
            assert explained.values[value] == pytest.approx(trade[value], rel=1e-12)
        entry, last = explained.causes
        assert entry.address == f"{name}#{trade['entry_n']}"
        if trade["status"] == "open":
            assert last.title == "open, valued at bar"
            assert "exit_price" not in explained.values
        else:
            assert last.address == f"{name}#{trade['exit_n']}"


def test_a_metric_is_walked_back_to_the_trades_that_made_it(run: Run) -> None:
    store, result = run
    phase = result.phase("training")
    best = phase.output.best
    assert best is not None
    explained = explain_metric(store, phase.stream, "final_equity", formulas={"admf": "last E"}, trades=3)
    trades = phase.trades()
    own = trades[trades["container"] == best.container].sort_values("number").reset_index()
    assert explained.values["value"] == best.metrics["final_equity"]
    assert explained.values["formula"] == "last E"
    assert explained.values["container"] == best.container
    assert explained.values["trades"] == len(own)
    assert explained.values["best trade"] == own["pnl"].idxmax() + 1
    assert explained.values["worst pnl"] == pytest.approx(own["pnl"].min())
    assert float(explained.values["total pnl"]) == pytest.approx(best.metrics["final_equity"] - 100_000)
    assert [cause.values["number"] for cause in explained.causes] == [1, 2, 3]
    holding = store.event_at(*_split(explained.address))
    assert holding.topic == "TrialsCompleted"


def _split(address: str) -> tuple[str, int]:
    name, _, number = address.rpartition("#")
    return name, int(number)


def test_a_metric_of_any_container_can_be_asked(run: Run) -> None:
    store, result = run
    metrics = result.phase("training").trials().set_index("container")["sharpe_ratio"]
    for container in (0, 7):
        explained = explain_metric(
            store, stream(result, "training"), "sharpe_ratio", container=container, formulas={}, trades=0
        )
        assert explained.values["value"] == metrics[container]
        assert explained.causes == ()


def test_what_does_not_exist_is_named(run: Run) -> None:
    store, result = run
    name = stream(result, "training")
    with pytest.raises(NotFoundError, match=rf"no event {name}#999999; the stream has \d+"):
        explain(store, f"{name}#999999")
    with pytest.raises(NotFoundError, match="there is no such stream"):
        explain(store, f"{name}x#1")
    with pytest.raises(ConfigurationError, match="an address is stream#n"):
        explain(store, f"{name}#x")
    with pytest.raises(ConfigurationError, match=r"#1 is PhaseStarted: explain a fill"):
        explain(store, f"{name}#1")
    with pytest.raises(ConfigurationError, match="must be the stream of a phase"):
        explain(store, f"{result.run}#1")
    with pytest.raises(NotFoundError, match=r"no trade 9999 of container 0 .* it has \d+, numbered from 1"):
        explain_trade(store, name, 0, 9999)
    with pytest.raises(NotFoundError, match="there is no container 77"):
        explain_trade(store, name, 77, 1)
    with pytest.raises(UnknownNameError, match=r"unknown metric 'sharp_ratio'\. Did you mean sharpe_ratio"):
        explain_metric(store, name, "sharp_ratio", formulas={})


def single(folder: Path, **settings: object) -> dict[str, object]:
    return {
        "data": {"file": str(folder / "walk.csv")},
        "workflow": "backtest",
        "strategies": [{"name": "cross", "type": "sma_crossover", "parameters": {"fast": 3, "slow": 8}}],
        **settings,
    }


def rows_of(coordinator: Coordinator, table: str) -> list[dict[str, object]]:
    return coordinator.workspace.read_models.query(f"FROM {table} ORDER BY n").records()  # type: ignore[return-value]


def test_an_order_names_the_latest_signal_of_each_strategy(coordinator: Coordinator, folder: Path) -> None:
    both = [
        {"name": "cross", "type": "sma_crossover", "parameters": {"fast": 3, "slow": 8}, "weight": 0.5},
        {"name": "rsi", "type": "rsi", "weight": 0.5},
    ]
    result = coordinator.execute_workflow(single(folder, strategies=both))
    (phase,) = result.phases.values()
    weights = 0
    for order in rows_of(coordinator, "orders"):
        explained = explain(coordinator.workspace.store, f"{phase.stream}#{order['n']}")
        signals = [cause for cause in explained.causes if cause.title.startswith("signal")]
        assert max(int(signal.values["bar"]) for signal in signals) == order["bar"]
        if order["target"]:
            assert sum(float(signal.values["target"]) * 0.5 for signal in signals) == order["target"]
            weights += len(signals) == 2
    assert weights > 1


def test_an_order_at_the_end_of_data_has_its_bar_as_cause(coordinator: Coordinator, folder: Path) -> None:
    result = coordinator.execute_workflow(single(folder, execution={"end": "close"}))
    (phase,) = result.phases.values()
    last = rows_of(coordinator, "orders")[-1]
    explained = explain(coordinator.workspace.store, f"{phase.stream}#{last['n']}")
    assert titles(explained) == ["order", "end of data at bar"]
    assert explained.causes[0].values["bar"] == 299


def test_a_denial_says_why(coordinator: Coordinator, folder: Path) -> None:
    sizer = {"name": "size", "type": "fixed", "units": 1_000_000}
    result = coordinator.execute_workflow(single(folder, risk={"position_sizers": [sizer]}))
    (phase,) = result.phases.values()
    order = rows_of(coordinator, "orders")[0]
    denial = explain(coordinator.workspace.store, f"{phase.stream}#{order['outcome_n']}")
    assert denial.values["rule"] == order["reason"] == "insufficient_funds"
    assert denial.values["available"] == order["available"] == 100_000
    assert [cause.title for cause in denial.causes] == ["order", "executed in bar"]


def test_a_cancellation_says_why(coordinator: Coordinator, folder: Path) -> None:
    whole = coordinator.execute_workflow(single(folder))
    placed = rows_of(coordinator, "signals")[1]
    data = {"file": str(folder / "walk.csv"), "end": str(placed["time"])[:10]}
    result = coordinator.execute_workflow(single(folder, data=data))
    (phase,) = result.phases.values()
    orders = phase.orders()
    (canceled,) = orders[(orders["status"] == "canceled") & (orders["target"] != 0)].to_dict("records")
    explained = explain(coordinator.workspace.store, f"{phase.stream}#{canceled['outcome_n']}")
    assert explained.values["reason"] == "end_of_data"
    assert titles(explained)[:3] == ["cancellation", "order", "signal of cross"]
    assert whole.run != result.run


@pytest.mark.parametrize("log", ["fills", "metrics"])
def test_what_was_not_recorded_is_said(coordinator: Coordinator, folder: Path, log: str) -> None:
    result = coordinator.execute_workflow(single(folder, log=log))
    (phase,) = result.phases.values()
    if log == "fills":
        trade = explain_trade(coordinator.workspace.store, phase.stream, 0, 1)
        assert titles(trade.causes[0]) == ["fill", "order, not recorded", "executed in bar"]
    else:
        with pytest.raises(NotFoundError, match="it has 0"):
            explain_trade(coordinator.workspace.store, phase.stream, 0, 1)


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, env={"ADMF_STORE": ""})
    return result.exit_code, result.output


def test_the_command_prints_a_tree_or_json(folder: Path) -> None:
    with Coordinator() as coordinator:
        result = coordinator.execute_workflow(single(folder))
        (phase,) = result.phases.values()
        fill = rows_of(coordinator, "fills")[0]
    for address in (f"last/{phase.name}#{fill['n']}", f"{phase.stream}#{fill['n']}"):
        code, shown = invoke("explain", address)
        assert code == 0
        assert shown.startswith("fill ")
        assert f"{phase.stream}#{fill['n']}" in shown.splitlines()[0]
        assert "feature fast = sma(period=3)" in shown
    code, text = invoke(
        "explain", f"last/{phase.name}", "--metric", "sharpe_ratio", "--trades", "1", "--json"
    )
    tree = json.loads(text)
    assert code == 0
    assert tree["values"]["formula"] == "mean(r) / std(r, ddof 1) sqrt(N)"
    assert [cause["title"] for cause in tree["causes"][0]["causes"]] == ["fill", "fill"]
    code, text = invoke("explain", f"last/{phase.name}", "--trade", "0:1", "--json")
    assert json.loads(text)["values"] == tree["causes"][0]["values"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("last/backtest",), 2, "give one of"),
        (("last/backtest#1", "--trade", "0:1"), 2, "must be the stream of a phase"),
        (("last/backtest", "--trade", "0"), 2, "CONTAINER:NUMBER"),
        (("last/backtest", "--trade", "0:999"), 3, "no trade 999"),
        (("last/backtest", "--metric", "luck"), 2, "unknown metric"),
        (("last/nothing#1",), 3, "no such stream"),
    ],
)
def test_wrong_usage_of_the_command_is_explained(
    folder: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    with Coordinator() as coordinator:
        coordinator.execute_workflow(single(folder))
    found, output = invoke("explain", *arguments)
    assert found == code
    assert message in " ".join(output.split())
