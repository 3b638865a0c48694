"""A run that is killed at any append, and resumed, ends as if it had never been stopped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from admf import Coordinator
from admf.coordinator.run_history import run_history
from admf.coordinator.trace_query import phase_stream
from admf.domain.errors import ChangedError, ConflictError
from admf.domain.events import TrialsCompleted, WorkflowResumed
from admf.eventstore.store import EventStore, open_store

WORKFLOW: dict[str, object] = {
    "data": {"file": "sp500.csv", "end": "2003-12-31"},
    "strategies": [{"name": "cross", "type": "sma_crossover"}],
    "shard_size": 3,
    "workflow": [
        {
            "name": "search",
            "type": "optimization",
            "optimization": {"parameters": {"cross.fast": [5, 10, 20], "cross.slow": [30, 50, 80]}},
        },
        {
            "name": "folds",
            "type": "validation",
            "walk_forward": {"train_size": 300, "test_size": 200},
            "optimization": {"parameters": {"cross.fast": [5, 10], "cross.slow": [30, 50]}},
        },
        {"name": "confirm", "type": "backtest", "inherit_best_from": "search"},
    ],
}
KILLED_AT = """
import os, signal, sys
from admf.coordinator.sequencer import Sequencer
from admf.eventstore.store import EventStore
from admf.coordinator import coordinator
import msgspec

fatal, before = int(sys.argv[2]), sys.argv[3] == "before"
append, count = EventStore.append, 0

def counted(self, head, events, **ids):
    global count
    count += 1
    if count == fatal and before:
        os.kill(os.getpid(), signal.SIGKILL)
    end = append(self, head, events, **ids)
    if count == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return end

EventStore.append = counted
coordinator.new_run_id = lambda: "workflow_20261121_101500_00000000"
with coordinator.Coordinator(sys.argv[1]) as running:
    running.execute_workflow(msgspec.json.decode(sys.stdin.read()))
"""
RUN = "workflow_20261121_101500_00000000"
PHASES = ("search", "folds", "confirm")


def appends_of(store: EventStore, stream: str) -> list[tuple[str, int, bytes]]:
    return [(event.topic, event.rows, event.content_hash) for event in store.read(stream)]


def test_hello(tmp_path: Path) -> None:
    import msgspec

    text = msgspec.json.encode(WORKFLOW).decode()
    with Coordinator(tmp_path / "whole") as whole:
        result = whole.execute_workflow(WORKFLOW)
        expected = {name: phase.head_hash for name, phase in result.phases.items()}
        total = whole.workspace.store.last_position()
    print(expected, total)
    for fatal in range(1, 60):
        folder = tmp_path / f"killed-{fatal}"
        done = subprocess.run(
            [sys.executable, "-c", KILLED_AT, str(folder), str(fatal), "after"], input=text, text=True
        )
        if done.returncode == 0:
            break
        assert done.returncode == -9
        with Coordinator(folder) as resumed:
            store = resumed.workspace.store
            if store.head(RUN).version == 0:
                continue
            before = sum(e.topic == "TrialsCompleted" for n in PHASES for e in store.read(f"{RUN}/{n}"))
            result = resumed.resume_workflow(RUN)
            got = {name: phase.head_hash for name, phase in result.phases.items()}
            assert got == expected, fatal
            print(fatal, before, result.status)
    print(fatal)
