"""How long a question about one run takes where the read models hold 100 million fills of 1,000 runs.

Run as ``python benchmarks/queries.py [--runs N]`` in the environment where admf is installed; it takes some
minutes and 4 GB of disk. One sweep of 473 moving-average combinations over 5,031 daily bars is really run,
logged and projected: about 100,000 fills. The others are not: their rows in the tables of the read models
are copies of those of that sweep, under ids of their own, run after run as the projection would write them.
The log has the one run, which makes no difference to a query: it asks the log for its newest events alone.
Prints medians.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
from admf.coordinator.market.data_files import DataFiles
from admf.coordinator.running.progress import Silence
from admf.coordinator.running.sequencer import Sequencer
from admf.coordinator.simulation.executors import InProcess
from admf.coordinator.streams.workspace import Workspace
from admf.coordinator.workflows.loading import load_workflow

FAST, SLOW = range(5, 48), range(50, 61)
WORKFLOW: dict[str, object] = {
    "name": "sweep",
    "data": {"file": "sp500.csv"},
    "strategies": [{"name": "cross", "type": "sma_crossover"}],
    "workflow": [
        {
            "name": "search",
            "type": "optimization",
            "optimization": {"parameters": {"cross.fast": list(FAST), "cross.slow": list(SLOW)}},
        }
    ],
}
OF_A_PHASE = (
    *("feeds", "strategies", "signals", "orders", "fills", "trials", "trades", "portfolio_metrics"),
    *("denials", "cancellations"),
)
TOGETHER = 50
"""Runs whose rows are committed together."""
QUESTIONS = {
    "fills of a run, counted and summed": "SELECT count(*), sum(fee) FROM fills WHERE run = '{run}'",
    "fills of a container": "SELECT * FROM fills WHERE run = '{run}' AND container = 321 ORDER BY n",
    "trades of a run, summed by side": (
        "SELECT side, count(*), sum(pnl) FROM trades WHERE run = '{run}' GROUP BY side"
    ),
    "ten best trials of a run": (
        "SELECT container, parameters, sharpe_ratio FROM trials JOIN portfolio_metrics "
        "USING (run, phase, container) WHERE run = '{run}' ORDER BY sharpe_ratio DESC LIMIT 10"
    ),
}


def copy_run(connection: duckdb.DuckDBPyConnection, runs: int) -> None:
    """Copy the rows of run-0 under the ids run-1, run-2, ..."""
    for first in range(1, runs, TOGETHER):
        connection.execute("BEGIN")
        for number in range(first, min(first + TOGETHER, runs)):
            run = f"run-{number}"
            connection.execute(
                f"INSERT INTO data.runs SELECT * REPLACE ('{run}' AS run) FROM kept.original.runs"
            )
            connection.execute(
                f"INSERT INTO data.phases SELECT * REPLACE (phase_key + {number} AS phase_key, "
                f"'{run}' AS run, '{run}/' || phase AS stream) FROM kept.original.phases"
            )
            for table in OF_A_PHASE:
                connection.execute(
                    f"INSERT INTO data.{table} SELECT * REPLACE (phase_key + {number} AS phase_key) "
                    f"FROM kept.original.{table}"
                )
        connection.execute("COMMIT")


def fill_read_models(folder: Path, runs: int) -> int:
    """Run the sweep, and copy its rows until there are so many runs; return the number of fills."""
    with Workspace(folder) as workspace:
        workflow = load_workflow(WORKFLOW)
        sequencer = Sequencer(workspace.store, InProcess(), Silence())
        sequencer.run(workflow, "run-0", DataFiles(workflow.folder))
        workspace.read_models.catch_up()
    with duckdb.connect(str(folder / "readmodels.duckdb")) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute("ATTACH ':memory:' AS kept; CREATE SCHEMA kept.original")
        for table in ("runs", "phases", *OF_A_PHASE):
            connection.execute(f"CREATE TABLE kept.original.{table} AS FROM data.{table}")
        copy_run(connection, runs)
        return int(connection.execute("SELECT count(*) FROM data.fills").fetchall()[0][0])


def seconds(action: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def process(folder: Path, sql: str) -> object:
    """Ask as a user does, by a process of its own."""
    command = [sys.executable, "-m", "admf", "--store", str(folder), "query", "--json", sql]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="how many runs the read models hold")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        fills = fill_read_models(folder, runs)
        size = (folder / "readmodels.duckdb").stat().st_size / 1e9
        print(
            f"{fills:,} fills of {runs:,} runs, {size:.1f} GB; made in {time.perf_counter() - start:.0f} s\n"
            f"{'':<40} {'from process start':>20} {'inside a process':>18}"
        )
        asked = [f"run-{runs * part // 5}" for part in range(5)]
        with Workspace(folder) as workspace:
            for what, question in QUESTIONS.items():
                questions = [question.format(run=run) for run in asked]
                first, inside = iter(questions), iter(questions)
                outside = seconds(lambda ask=first: process(folder, next(ask)), len(asked))
                within = seconds(lambda ask=inside: workspace.read_models.query(next(ask)), len(asked))
                print(f"{what:<40} {outside:>18.3f} s {within * 1e3:>15.1f} ms")


if __name__ == "__main__":
    main()
