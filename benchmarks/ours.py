"""admf itself, measured through its public Python interface: a mapping in, a run in the log out.

Options of the task: ``workers``; ``log``, the level; ``store``, ``memory://`` or a file; ``sizes``, by which
many sizes of position the containers are multiplied; ``stops``, for two symbols with exits, a volume limit
and price impact, on the bundled files instead of the bars of the task. A run is everything that a caller
waits for: checking the data frame and looking for its bars in the log, simulating, appending each event (to a
file: SQLite with synchronous=FULL), and making the result.
"""

import os
import sqlite3
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from admf import Coordinator
from admf.coordinator.result import WorkflowResult
from admf.domain.events import OrdersFilled, TrialsCompleted

from .peers.protocol import Bars, Outcome, Task, serve

PHASE = "sweep"
BUNDLED = {"SPX": "sp500.csv", "IXIC": "nasdaq.csv"}
LOGICAL = ("SignalsEmitted", "OrdersPlaced", "OrdersDenied", "OrdersFilled", "OrdersCanceled")


def workflow(task: Task) -> dict[str, object]:
    """Describe a task as a workflow with one phase."""
    parameters: dict[str, list[float] | list[int]] = {"cross.fast": task["fast"], "cross.slow": task["slow"]}
    sizes = int(task["options"].get("sizes", "1"))
    if sizes > 1:
        parameters["position_size.units"] = [task["units"] * (1 + size) / sizes for size in range(sizes)]
    data: dict[str, object] = {"file": task["file"], "timeframe": task["timeframe"], "symbol": "BENCH"}
    execution: dict[str, object] = {"fill": task["fill"], "commission": {"percent": task["fee"] * 100}}
    risk: dict[str, object] = {"position_sizers": [{"type": "fixed", "units": task["units"]}]}
    if "stops" in task["options"]:
        data = {"files": BUNDLED}
        execution["slippage"] = {"bps": 1, "volume_limit": 10, "price_impact": 0.1}
        risk |= {"stop_loss": 5, "take_profit": 10}
    return {
        "name": "benchmark",
        "data": data,
        "capital": task["capital"],
        "execution": execution,
        "strategies": [{"name": "cross", "type": "sma_crossover", "direction": "long"}],
        "risk": risk,
        "log": task["options"].get("log", "full"),
        "cache": False,
        "workflow": [
            {
                "name": PHASE,
                "type": "optimization",
                "optimization": {"parameters": parameters, "objective": "total_return"},
            }
        ],
    }


class Runs:
    """Runs tasks in one workspace, which is opened by the first."""

    def __init__(self) -> None:
        self._coordinator: Coordinator | None = None
        self._last: WorkflowResult | None = None
        self._frames: dict[str, pd.DataFrame] = {}

    def run(self, task: Task, bars: Bars, keep: bool) -> WorkflowResult:  # noqa: ARG002
        if self._coordinator is None:
            workers = int(task["options"].get("workers", "1"))
            self._coordinator = Coordinator(task["options"]["store"], workers=workers)
            self._frames = {task["file"]: pd.DataFrame(bars._asdict())}
        self._last = self._coordinator.execute_workflow(workflow(task), frames=self._frames)
        return self._last

    def outcome(self, task: Task, bars: Bars, made: object) -> Outcome:  # noqa: ARG002
        assert isinstance(made, WorkflowResult)
        assert self._coordinator is not None
        events = self._coordinator.workspace.store.read(f"{made.run}/{PHASE}")
        kept = [
            recorded.event for recorded in events if recorded.topic in ("OrdersFilled", "TrialsCompleted")
        ]
        trials = [event for event in kept if isinstance(event, TrialsCompleted)]
        fills = [event for event in kept if isinstance(event, OrdersFilled)]
        order = _sweep_order(trials)

        def column(name: str, kind: type) -> np.ndarray:
            return np.concatenate([np.empty(0, kind), *(getattr(event, name) for event in fills)])

        container = column("container", np.int32)
        place = np.empty_like(order)
        place[order] = np.arange(order.size)
        rows = np.argsort(place[container], kind="stable")
        return Outcome(
            np.concatenate([event.metrics["final_equity"] for event in trials])[order],
            np.concatenate([event.metrics["trades"] for event in trials])[order].astype(np.int64),
            place[container][rows].astype(np.int32),
            column("bar", np.int32)[rows],
            column("quantity", np.float64)[rows],
            column("price", np.float64)[rows],
        )

    def close(self) -> dict[str, float]:
        """Say how large what was logged is, when all of it has been written."""
        if self._coordinator is None or self._last is None:
            return {}
        name, stream = self._coordinator.workspace.name, f"{self._last.run}/{PHASE}"
        self._coordinator.close()
        if not os.path.exists(name):
            return {}
        return stored_size(Path(name), stream)


def _sweep_order(trials: list[TrialsCompleted]) -> np.ndarray:
    """Return the containers in the order of a task's combinations: by fast, then by slow."""
    fast, slow = (
        np.concatenate([event.parameters[f"cross.{name}"] for event in trials]) for name in ("fast", "slow")
    )
    return np.lexsort((slow, fast))


def stored_size(file: Path, stream: str) -> dict[str, float]:
    """Measure a closed store: the whole file, and what one phase's signals, orders and fills take in it.

    ``stored_bytes`` counts pages of the file for the whole store, so it includes bars, indexes and room that
    is not used; ``logical_bytes`` counts the events of the stream that hold signals, orders and fills.
    """
    from admf.eventstore.store import open_store

    with open_store(file) as store:
        rows = {recorded.version: recorded.rows for recorded in store.read(stream, topics=LOGICAL)}
    connection = sqlite3.connect(file)
    try:
        states = connection.execute(
            f"SELECT sum(length(state)) FROM stored_events WHERE originator_id = ? "
            f"AND topic IN ({','.join('?' * len(LOGICAL))})",
            (stream, *LOGICAL),
        ).fetchone()[0]
    finally:
        connection.close()
    return {
        "stored_bytes": float(file.stat().st_size),
        "logical_rows": float(sum(rows.values())),
        "logical_bytes": float(states or 0),
    }


if __name__ == "__main__":
    runs = Runs()
    serve(runs.run, runs.outcome, {"admf": version("admf")}, runs.close)
