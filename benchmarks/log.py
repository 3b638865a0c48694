"""What the log costs, and what it gives back: a logged sweep, then resume, replay, rebuild and queries.

Run as ``python benchmarks/log.py [--runs N]`` in the environment where admf is installed. The sweep is 6,750
moving-average combinations over 5,031 daily bars, about 1.9 million logical rows; ``--runs`` repeats it, to
see how queries for one run fare in a store with many. Prints medians.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from admf.coordinator.audit.replay import replay_run
from admf.coordinator.market.data_files import DataFiles
from admf.coordinator.running.progress import Silence
from admf.coordinator.running.sequencer import Sequencer
from admf.coordinator.simulation.executors import InProcess
from admf.coordinator.streams.run_history import run_history
from admf.coordinator.streams.stream_writer import Tracer
from admf.coordinator.streams.workspace import Workspace
from admf.coordinator.workflows.loading import load_workflow
from admf.projections.read_models import ReadModels

PHASE = "search"


def workflow(log: str) -> dict[str, object]:
    return {
        "name": "sweep",
        "data": {"file": "sp500.csv"},
        "log": log,
        "cache": False,
        "strategies": [{"name": "cross", "type": "sma_crossover"}],
        "workflow": [
            {
                "name": PHASE,
                "type": "optimization",
                "optimization": {
                    "parameters": {"cross.fast": list(range(5, 50)), "cross.slow": list(range(50, 200))}
                },
            }
        ],
    }


def seconds(action: Callable[[], object], times: int = 5) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def pass_over(workspace: Workspace, run: str) -> None:
    """Do what resuming does before it simulates: fold the journal, pass over every recorded shard."""
    run_history(workspace.store, run)
    tracer = Tracer(workspace.store, f"{run}/{PHASE}", "")
    while tracer.recorded_trials() is not None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10, help="how many runs of the sweep the store holds")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder, Workspace(Path(folder) / "store") as workspace:
        sequencer = Sequencer(workspace.store, InProcess(), Silence())
        described = {log: load_workflow(workflow(log)) for log in ("full", "metrics")}

        def run(log: str, name: str) -> None:
            sequencer.run(described[log], name, DataFiles(described[log].folder))

        run("metrics", "warm-up")
        bare = seconds(lambda: run("metrics", f"bare-{time.time_ns()}"), 3)
        taken = []
        for number in range(runs):
            start = time.perf_counter()
            run("full", f"run-{number}")
            taken.append(time.perf_counter() - start)
        full = statistics.median(taken)
        rows = workspace.store.head(f"run-0/{PHASE}").rows
        read_models = workspace.read_models
        rebuilt = seconds(read_models.rebuild, 3)
        with ReadModels(None, workspace.store) as in_memory:
            rebuilt_in_memory = seconds(in_memory.rebuild, 3)
        total = rows * runs
        size = sum(path.stat().st_size for path in (Path(folder) / "store").glob("events.sqlite*"))

        def replay() -> None:
            replay_run(workspace.store, "run-0", InProcess(), Silence())

        def fills_of_a_run() -> None:
            read_models.query("SELECT count(*), sum(fee) FROM fills WHERE run = ?", (f"run-{runs - 1}",))

        def fills_of_a_container() -> None:
            read_models.query("SELECT * FROM fills WHERE run = 'run-0' AND container = 4321")

        print(f"{rows:,} logical rows a run, {runs} runs, {total:,} rows")
        for what, value in {
            "sweep, metrics only (s)": bare,
            "sweep, full log, durable (s)": full,
            "rows logged per second (million)": rows / full / 1e6,
            "stored bytes per row, about": size / total,
            "fold of a whole run, as before resuming it (s)": seconds(lambda: pass_over(workspace, "run-0")),
            "replay of a run (s)": seconds(replay, 3),
            "rebuild of the read models (million rows/s)": total / rebuilt / 1e6,
            "the same in memory (million rows/s)": total / rebuilt_in_memory / 1e6,
            "query: all fills of one run (s)": seconds(fills_of_a_run),
            "query: fills of one container (s)": seconds(fills_of_a_container),
        }.items():
            print(f"{what:<50} {value:10.3f}")


if __name__ == "__main__":
    main()
