"""Read models that do not say what the log says are found, by table and row."""

import shutil
from contextlib import closing
from pathlib import Path

import duckdb
import msgspec
import pytest
from admf import Coordinator
from admf.coordinator import cli
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.streams.workspace import Workspace
from admf.projections.comparison import KEYS
from typer.testing import CliRunner


@pytest.fixture
def run(folder: Path, train_and_test: dict[str, object]) -> str:
    """A run in the store of the current folder, which its read models have followed."""
    return followed(".admf", train_and_test)


def followed(store: str, workflow: dict[str, object]) -> str:
    """Run a workflow, let the read models catch up, and return the run."""
    with Coordinator(store) as coordinator:
        run = coordinator.execute_workflow(workflow).run
        coordinator.workspace.read_models.catch_up()
        return run


def plant(statement: str) -> None:
    with closing(duckdb.connect(".admf/readmodels.duckdb")) as connection:
        connection.execute(statement)


def violations(run: str = "") -> list[tuple[str, str]]:
    with Workspace(".admf") as workspace:
        found = verify_workspace(workspace, run).violations
    assert {each.rule for each in found} <= {"read models"}
    return [(each.address, each.message) for each in found]


def test_every_table_is_compared(run: str) -> None:
    with closing(duckdb.connect(".admf/readmodels.duckdb")) as connection:
        sql = "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'data'"
        tables = {name for (name,) in connection.execute(sql).fetchall()}
    assert set(KEYS) == tables - {"version", "head", "tracking"}


KEY = "phase_key = (SELECT phase_key FROM data.phases WHERE phase = 'training')"


@pytest.mark.parametrize(
    ("table", "change", "where", "row", "column"),
    [
        (
            "fills",
            "price = price + 1e-9",
            f"n = (SELECT min(n) + 3 FROM data.fills WHERE {KEY})",
            "n=",
            "price",
        ),
        ("fills", "cash = -cash", f"n = (SELECT min(n) FROM data.fills WHERE {KEY})", "n=", "cash"),
        ("trades", "pnl = 0.0", "container = 2 AND number = 1", "container=2, number=1", "pnl"),
        ("portfolio_metrics", "sharpe_ratio = 9", "container = 4", "container=4", "sharpe_ratio"),
        ("trials", "parameters = '{}'", "container = 4", "n=", "parameters"),
        ("signals", "bar = bar + 1", "container = 0", "n=", "bar"),
    ],
)
def test_a_value_that_was_changed_is_found(
    run: str, table: str, change: str, where: str, row: str, column: str
) -> None:
    assert violations() == []
    plant(f"UPDATE data.{table} SET {change} WHERE {KEY} AND {where}")
    for found in (violations(), violations(run)):
        ((address, message),) = found
        assert address.startswith(f"{table} phase={run}/training, ")
        assert row in address
        assert f"{column} is " in message


def test_a_zero_of_the_other_sign_is_found(run: str) -> None:
    plant("CREATE TABLE copy AS SELECT * REPLACE (-target AS target) FROM data.orders WHERE target = 0")
    plant("DELETE FROM data.orders WHERE target = 0; INSERT INTO data.orders FROM copy; DROP TABLE copy")
    ((address, message),) = violations()
    assert address.startswith("orders ")
    assert message.startswith("target is 0.0 by the log, -0.0 here")


@pytest.mark.parametrize(
    ("statement", "address", "message"),
    [
        (
            "UPDATE data.runs SET status = 'failed'",
            "runs run={run}",
            "status is 'completed' by the log, 'failed'",
        ),
        (
            "UPDATE data.phases SET head_hash = ''",
            "phases stream={run}/out_of_sample",
            "differ in this table: 4)",
        ),
        ("UPDATE data.bars SET close = 1 WHERE bar = 7", "bars bars=bars-", "close is"),
        (
            "DELETE FROM data.fills WHERE container = 0",
            "fills phase={run}/",
            "follows from the log and is not",
        ),
        ("INSERT INTO data.trades FROM data.trades LIMIT 1", "trades phase={run}/", "does not follow from"),
        (
            "INSERT INTO data.runs SELECT * REPLACE ('x' AS run) FROM data.runs",
            "runs run=x",
            "does not follow",
        ),
        ("DELETE FROM data.strategies", "strategies phase={run}/", "follows from the log and is not"),
        ("ALTER TABLE data.orders DROP COLUMN target", "orders", "the table can't be read"),
        ("DELETE FROM data.phases WHERE phase = 'training'", "phases stream={run}/training", "is not here"),
    ],
)
def test_rows_that_are_missing_too_many_or_of_another_shape_are_found(
    run: str, statement: str, address: str, message: str
) -> None:
    if "DROP COLUMN" in statement:
        plant("DROP VIEW orders")
    plant(statement)
    found = violations()
    assert any(where.startswith(address.format(run=run)) and message in said for where, said in found), found


def test_each_table_is_reported_whatever_is_wrong_with_another(run: str) -> None:
    plant("UPDATE data.fills SET fee = 0.5; UPDATE data.trades SET fee = 0.5; DELETE FROM data.signals")
    assert [address.split()[0] for address, _ in violations()] == ["signals", "fills", "trades"]


def test_a_store_restored_from_an_older_copy_is_found_by_its_newer_read_models(
    run: str, train_and_test: dict[str, object]
) -> None:
    shutil.copy(".admf/events.sqlite", "backup.sqlite")
    lost = followed(".admf", train_and_test)
    shutil.copy("backup.sqlite", ".admf/events.sqlite")
    ((address, message),) = violations()
    assert address == "read models"
    assert "restored from a backup: delete the file, it is rebuilt" in message
    assert violations(run) == [(address, message)]
    Path(".admf/readmodels.duckdb").unlink()
    assert violations() == []
    assert lost not in run


def test_read_models_of_another_log_are_found(run: str, train_and_test: dict[str, object]) -> None:
    followed("other", train_and_test)
    shutil.copy("other/readmodels.duckdb", ".admf/readmodels.duckdb")
    ((address, message),) = violations()
    assert address == "read models"
    assert "made from another log" in message


def test_the_command_says_what_it_checked_and_ends_with_0(run: str) -> None:
    result = CliRunner().invoke(cli.app, ["verify"])
    assert result.exit_code == 0
    assert result.stdout.startswith("no violation in 6 streams, ")
    result = CliRunner().invoke(cli.app, ["verify", "last", "--json"])
    assert result.exit_code == 0
    said = msgspec.json.decode(result.stdout)
    assert said["violations"] == []
    assert said["checked"].keys() == {"streams", "events", "rows", "metrics", "read_model_rows"}


def test_the_command_names_each_violation_and_ends_with_1(run: str) -> None:
    plant("UPDATE data.trades SET pnl = 0.0")
    result = CliRunner().invoke(cli.app, ["verify"])
    assert result.exit_code == 1
    assert result.stdout.startswith(f"trades phase={run}/")
    assert "1 violation in 6 streams" in result.stdout
    result = CliRunner().invoke(cli.app, ["verify", run[-8:], "--json"])
    assert result.exit_code == 1
    (violation,) = msgspec.json.decode(result.stdout)["violations"]
    assert violation.keys() == {"address", "rule", "message"}
    assert violation["rule"] == "read models"


def test_the_command_verifies_a_run_whose_read_models_are_ahead(
    run: str, train_and_test: dict[str, object]
) -> None:
    shutil.copy(".admf/events.sqlite", "backup.sqlite")
    followed(".admf", train_and_test)
    shutil.copy("backup.sqlite", ".admf/events.sqlite")
    assert CliRunner().invoke(cli.app, ["verify", run]).exit_code == 1
    assert CliRunner().invoke(cli.app, ["verify", "nothing"]).exit_code == 3
