"""Several workflows at once, each in a process of its own, in one store."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from admf import Coordinator
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.result import WorkflowResult
from admf.domain.events import WorkflowStarted
from admf.eventstore.store import EventStore, open_store

PATIENCE = 60.0
"""Seconds after which something must have happened, also on a busy machine."""
MEETING = """
import time
from pathlib import Path

import numpy as np

def meeting(close, level=90):
    if level == {held}:
        Path("{name}.begun").touch()
        deadline = time.monotonic() + {patience}
        while not Path("go").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    return np.where(close > level, 1.0, 0.0)
"""
LEVELS = {"one": [80, 90, 100], "two": [85, 95, 105], "three": [70, 75, 110]}
"""What each workflow searches; all of them are in their second shard at the same time."""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def run_of(store: EventStore, name: str) -> str:
    started = ((each.stream, each.event) for each in store.read_all(topics=("WorkflowStarted",)))
    (run,) = [
        stream for stream, event in started if isinstance(event, WorkflowStarted) and event.name == name
    ]
    return run


@pytest.fixture
def workflows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Files of workflows: two searches with a phase after each, whose strategies wait for a file."""
    written = {}
    for name, levels in LEVELS.items():
        source = MEETING.format(name=name, held=levels[1], patience=PATIENCE)
        (folder / f"{name}.py").write_text(source)
        search = {
            "name": "search",
            "type": "optimization",
            "optimization": {"parameters": {"mine.level": levels}},
        }
        described = {
            "name": name,
            "data": {"file": "walk.csv"},
            "strategies": [{"name": "mine", "type": f"{name}.py:meeting"}],
            "shard_size": 1,
            "workflow": [search, {"name": "best", "type": "backtest", "inherit_best_from": "search"}],
        }
        written[name] = folder / f"{name}.yaml"
        written[name].write_text(json.dumps(described))
    return written


def test_workflows_run_at_once_in_one_store_as_they_do_alone_and_one_is_canceled(
    folder: Path,
    workflows: dict[str, Path],
    shared_url: str,
    heads: Callable[[WorkflowResult], dict[str, str]],
) -> None:
    (folder / "go").touch()
    with Coordinator("memory://") as alone:
        expected = {name: heads(alone.execute_workflow(file)) for name, file in workflows.items()}
    for file in (*folder.glob("*.begun"), folder / "go"):
        file.unlink()
    admf = [sys.executable, "-m", "admf", "--store", shared_url]
    running = {name: subprocess.Popen([*admf, "run", str(file)]) for name, file in workflows.items()}
    try:
        wait_for(lambda: len(list(folder.glob("*.begun"))) == len(workflows))
        with open_store(shared_url) as store:
            canceled = run_of(store, "three")
        subprocess.run([*admf, "cancel", canceled], check=True)
        (folder / "go").touch()
        codes = {name: process.wait(PATIENCE) for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    assert codes == {"one": 0, "two": 0, "three": 130}
    with Coordinator(shared_url) as coordinator:
        store = coordinator.workspace.store
        for name in ("one", "two"):
            assert heads(coordinator.result(run_of(store, name))) == expected[name]
        assert coordinator.result(canceled).status == "canceled"
        assert len(list(store.read(f"{canceled}/search", topics=("TrialsCompleted",)))) == 1
        assert heads(coordinator.resume_workflow(canceled)) == expected["three"]
        assert verify_workspace(coordinator.workspace).violations == ()
