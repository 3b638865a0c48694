import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from admf import Coordinator
from admf.coordinator.simulation import leftovers
from admf.coordinator.simulation.leftovers import remove_leftovers, shared_folder
from admf.coordinator.simulation.worker import Failed, receive, send
from admf.domain.errors import AdmfError, ConfigurationError, StrategyError

STRATEGIES = """
import os
import signal
import time
import numpy as np

def steady(close, size=1.0):
    return np.full(close.size, size)

def noisy(close, size=1.0):
    print("noise on standard output", flush=True)
    os.write(1, b"raw noise")
    return np.full(close.size, size)

def raising(close, size=1.0):
    if size > 0.4:
        raise ValueError(f"no size of {size}")
    return np.full(close.size, size)

def dying(close, size=1.0):
    if size > 0.4:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.full(close.size, size)

def slow(close, size=1.0):
    time.sleep(0.3)
    return np.full(close.size, size)
"""

SCRIPT = """
from pathlib import Path
import admf
from admf.coordinator.simulation import leftovers
leftovers.MEMORY = Path("memory")
admf.run("slow.yaml", workers=2)
"""


@pytest.fixture
def search(folder):
    """A search over a user's strategy, in five shards."""
    (folder / "mine.py").write_text(STRATEGIES)

    def of(function):
        return {
            "data": {"file": str(folder / "walk.csv")},
            "strategies": [{"name": "mine", "type": f"{folder / 'mine.py'}:{function}"}],
            "workflow": [
                {
                    "name": "search",
                    "type": "optimization",
                    "shard_size": 1,
                    "optimization": {
                        "parameters": {"mine.size": [0.1, 0.2, 0.3, 0.4, 0.5]},
                        "objective": "final_equity",
                    },
                }
            ],
        }

    return of


@pytest.fixture
def memory(folder, monkeypatch):
    """A folder of the test's own in place of the one in which all processes of the machine share files."""
    monkeypatch.setattr(leftovers, "MEMORY", folder / "memory")
    (folder / "memory").mkdir()
    return folder / "memory"


def children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def test_a_user_strategy_gives_the_same_events_with_two_workers(coordinator, pooled, search, heads):
    here = coordinator.execute_workflow(search("steady"))
    there = pooled.execute_workflow(search("steady"))
    assert heads(there) == heads(here)
    assert len(there.phase("search").trials()) == 5


def test_what_a_strategy_prints_does_not_disturb_the_workers(pooled, search):
    assert pooled.execute_workflow(search("noisy")).status == "completed"


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("raising", StrategyError, r"strategy 'mine' raised ValueError: no size of 0\.5; its parameters"),
        ("dying", AdmfError, "one of the 2 worker processes died"),
    ],
)
def test_a_pool_goes_on_after_a_phase_that_failed(pooled, search, heads, memory, function, error, message):
    with pytest.raises(error, match=message):
        pooled.execute_workflow(search(function))
    assert list(memory.iterdir()) == []
    ((status, trials),) = pooled.workspace.read_models.query(
        "SELECT status, (SELECT count(*) FROM trials t WHERE t.run = r.run) FROM runs r "
        "ORDER BY started_at DESC LIMIT 1"
    ).rows
    assert (status, trials) == ("failed", 4)
    assert pooled.execute_workflow(search("steady")).status == "completed"


def test_closing_leaves_no_worker_behind(search):
    before = children(os.getpid())
    with Coordinator("memory://", workers=2) as coordinator:
        coordinator.execute_workflow(search("steady"))
        started = children(os.getpid()) - before
        coordinator.stop_workers()
        coordinator.stop_workers()
        assert len(started) == 2
        assert not any(Path(f"/proc/{pid}").exists() for pid in started)


@pytest.mark.parametrize("kept", [0, 5, 12])
def test_a_message_of_which_a_part_is_missing_is_none(kept):
    pipe = io.BytesIO()
    send(pipe, Failed("a reason", strategy=True))
    assert receive(io.BytesIO(pipe.getvalue())) == Failed("a reason", strategy=True)
    assert receive(io.BytesIO(pipe.getvalue()[:kept])) is None


@pytest.mark.parametrize("workers", [0, -1])
def test_a_number_of_workers_below_one_is_refused(folder, workers):
    with pytest.raises(ConfigurationError, match=f"workers: there must be at least 1, was {workers}"):
        Coordinator("memory://", workers=workers)


def test_an_interrupt_from_the_keyboard_stops_everything(folder, search, memory):
    (folder / "slow.yaml").write_text(
        """
        data: {file: walk.csv}
        strategies: [{name: mine, type: "mine.py:slow"}]
        workflow:
          - name: search
            type: optimization
            shard_size: 1
            optimization:
              parameters: {mine.size: [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.11, 0.12,
                0.13, 0.14, 0.15, 0.16, 0.17, 0.18, 0.19, 0.2, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26, 0.27]}
              objective: final_equity
        """
    )
    search("slow")
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=subprocess.PIPE, start_new_session=True)
    workspace = folder / ".admf" / "events.sqlite"
    _wait_for(lambda: workspace.is_file() and _trials(folder) >= 2)
    workers = children(process.pid)
    assert len(list(memory.iterdir())) == 1
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert b"was canceled in the phase search" in errors
    assert len(workers) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert list(memory.iterdir()) == []
    with Coordinator(folder / ".admf") as coordinator:
        ((status,),) = coordinator.workspace.read_models.query("SELECT status FROM runs").rows
    assert status == "canceled"


HOLDING = """
from pathlib import Path
from admf.coordinator.simulation import leftovers
leftovers.MEMORY = Path("memory")
with leftovers.shared_folder() as folder:
    (folder / "bars").touch()
    print("held", flush=True)
    input()
"""


def test_folders_that_a_killed_process_leaves_are_removed_and_those_of_others_stay(memory, monkeypatch):
    monkeypatch.setattr(leftovers, "SETTLED", -1.0)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with shared_folder() as own:
        assert process.stdout.readline() == "held\n"
        remove_leftovers()
        (other,) = set(memory.iterdir()) - {own}
        process.kill()
        process.communicate()
        remove_leftovers()
        assert list(memory.iterdir()) == [own]
    assert list(memory.iterdir()) == []
    assert not other.exists()


def test_machine_code_that_nobody_used_for_long_is_removed_but_for_the_newest(memory, tmp_path, monkeypatch):
    folders = [tmp_path / "cache" / f"compiled-{number:02}" for number in range(12)]
    for age, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "code").touch()
        os.utime(folder, (time.time() - age * 10 * 3600,) * 2)
    monkeypatch.setattr(leftovers, "CACHE_FOLDER", folders[11])
    remove_leftovers()
    # The last one is in use, and so the newest; the others are ten hours apart.
    assert sorted((tmp_path / "cache").iterdir()) == [*folders[:7], folders[11]]
    monkeypatch.setattr(leftovers, "KEPT", 0)
    remove_leftovers()
    assert sorted((tmp_path / "cache").iterdir()) == [*folders[:3], folders[11]]


def _trials(folder):
    with Coordinator(folder / ".admf") as coordinator:
        return sum(recorded.topic == "TrialsCompleted" for recorded in coordinator.workspace.store.read_all())


def _wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
