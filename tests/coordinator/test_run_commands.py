"""The commands that carry runs on, stop them and repeat them, while other processes are at work."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from admf import Coordinator
from admf.coordinator.cli import app
from typer.testing import CliRunner, Result

ADMF = Path(sys.executable).with_name("admf")
RUN_ID = re.compile(r"workflow_\d{8}_\d{6}_[0-9a-f]{8}")
STUDY = """
name: study
data: {file: walk.csv}
strategies: [{name: mine, type: "mine.py:mine"}]
shard_size: 1
workflow:
  - {name: first, type: backtest}
  - {name: search, type: optimization, optimization: {parameters: {mine.level: [80, 90, 100, 110, 120]}}}
  - {name: last, type: backtest, inherit_best_from: search}
"""
STRATEGY = """
import os
import time
from pathlib import Path

import numpy as np

def mine(close, level=70):
    if level >= 100 and os.environ.get("HELD"):
        Path("begun").touch()
        while not Path("released").exists():
            time.sleep(0.02)
    if level == 110 and Path("failing").exists():
        raise ValueError("out of ideas")
    return np.where(close > level, 1.0, 0.0)
"""
# Python ignores an interrupt where its parent does, as the shell's background jobs do.
INTERRUPTIBLE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def here(folder: Path) -> Path:
    (folder / "study.yaml").write_text(STUDY)
    (folder / "mine.py").write_text(STRATEGY)
    return folder


def admf(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="admf")


def json_of(*arguments: str, code: int = 0) -> object:
    done = admf(*arguments, "--json")
    assert done.exit_code == code, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def under_way(here: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begin a command; return its process, held at the third trial of the search until `released` exists."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        for name in ("begun", "released"):
            (here / name).unlink(missing_ok=True)
        command = [sys.executable, "-c", INTERRUPTIBLE, str(ADMF), *arguments]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HELD": "yes"},
        )
        begun.append(process)
        deadline = time.monotonic() + 30
        while not (here / "begun").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (here / "begun").exists(), process.communicate()
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def head_hashes(run: str = "last") -> dict[str, str]:
    shown = json_of("show", run)
    return {name: phase["head_hash"] for name, phase in shown["phases"].items()}


@pytest.fixture
def expected(here: Path) -> dict[str, str]:
    """Head hashes of a run that was never stopped."""
    with Coordinator("memory://") as coordinator:
        result = coordinator.execute_workflow("study.yaml")
        return {name: phase.head_hash for name, phase in result.phases.items()}


def test_a_killed_run_is_stale_and_resumes_where_it_was_stopped(here, under_way, expected):
    process = under_way("run", "study.yaml")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (entry,) = json_of("runs")
    assert entry["status"] == "stale"
    listed = admf("runs").stdout
    assert f"the process is gone; `admf resume {entry['run'][-8:]}` carries it on" in listed
    status = json_of("status", "last")
    assert (status["status"], status["phase"], status["process"]) == ("stale", "search", process.pid)
    assert [each["run"] for each in json_of("status")] == [entry["run"]]
    assert "admf resume" in admf("status").stdout
    assert admf("status", "last", "--watch").exit_code == 1

    resumed = admf("resume", "last")
    assert resumed.exit_code == 0
    assert resumed.stdout.startswith("passed over: first, 2 shards (2 trials) of search\n\nstudy  completed")
    assert head_hashes() == expected
    assert json_of("status") == []


def test_resuming_tells_scripts_what_was_passed_over(here, under_way, expected):
    process = under_way("run", "study.yaml")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = json_of("resume", "last", "--workers", "2")
    assert run["status"] == "completed"
    assert run["passed_over"] == {"phases": ["first"], "phase": "search", "shards": 2, "trials": 2}
    assert {name: phase["head_hash"] for name, phase in run["phases"].items()} == expected
    again = admf("resume", "last")
    assert again.exit_code == 0
    assert again.stdout.startswith("nothing is left to do; completed: first, search, last\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_it_is_resumed(here, under_way, expected, number):
    process = under_way("run", "study.yaml")
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    (entry,) = json_of("runs")
    assert entry["status"] == "canceled"
    assert (
        f"was canceled in the phase search; all that was logged is kept. `admf resume {entry['run']}`"
        in errors
    )
    assert "Traceback" not in errors
    assert admf("resume", entry["run"]).exit_code == 0
    assert head_hashes() == expected


def test_the_command_to_resume_names_the_store(here, under_way):
    process = under_way("run", "study.yaml", "--store", "elsewhere")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    command = re.search(r"`admf (resume workflow_\w+ --store \S+)` carries it on", errors)
    assert command
    assert admf(*command[1].split()).exit_code == 0


def test_a_run_is_canceled_from_another_terminal(here, under_way, expected):
    process = under_way("run", "study.yaml")
    canceled = admf("cancel", "last")
    assert canceled.exit_code == 0
    assert "is canceled" in canceled.stdout
    (here / "released").touch()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    run = RUN_ID.search(canceled.stdout)[0]
    assert f"the run {run} was canceled: asked for by process" in errors
    assert f"`admf resume {run}` carries it on" in errors
    shards = json_of("query", "SELECT count(*) AS n FROM trials WHERE phase = 'search'")[0]["n"]
    assert shards == 2
    topics = [event["type"] for event in json_of("events", run)["events"]]
    assert topics[-1] == "WorkflowCanceled"
    assert json_of("cancel", "last") == {"run": run, "canceled": False, "status": "canceled"}
    assert admf("cancel", "last").stdout == f"{run} had ended before: it is canceled.\n"
    assert admf("resume", "last").exit_code == 0
    assert head_hashes() == expected


def test_of_two_processes_on_one_run_the_first_stops_with_code_4(here, under_way, expected):
    first = under_way("run", "study.yaml")
    second = admf("resume", "last")
    assert second.exit_code == 0
    (here / "released").touch()
    _, errors = first.communicate(timeout=30)
    assert first.returncode == 4
    assert re.search(
        r"the run \w+ was resumed by process \d+ on .+, which carries it on; this process stops", errors
    )
    assert head_hashes() == expected


def test_a_failed_run_says_how_it_is_resumed_once_the_strategy_is_corrected(here, expected):
    (here / "failing").touch()
    failed = admf("run", "study.yaml")
    assert failed.exit_code == 2
    run = RUN_ID.search(failed.stderr)[0]
    assert (
        f"When the strategy is corrected, `admf resume {run} --accept-code` carries it on." in failed.stderr
    )
    (here / "mine.py").write_text(STRATEGY.replace("level == 110", "level == 111"))
    refused = admf("resume", run)
    assert refused.exit_code == 1
    assert "began with other code: strategy mine was" in refused.stderr
    assert admf("resume", run, "--accept-code").exit_code == 0
    assert json_of("runs")[0]["status"] == "completed"


def test_a_failure_that_resuming_would_repeat_names_no_command(here):
    (here / "mine.py").write_text(STRATEGY)
    done = admf("run", "study.yaml", "--set", "capital=-1")
    assert done.exit_code == 2
    assert "resume" not in done.stderr


def test_a_run_in_memory_can_not_be_resumed_and_says_nothing_of_it(here):
    (here / "failing").touch()
    done = admf("run", "study.yaml", "--store", "memory://")
    assert done.exit_code == 2
    assert "admf resume" not in done.stderr


def test_watching_ends_with_the_run_and_its_exit_code(here, under_way):
    process = under_way("run", "study.yaml")
    watching = subprocess.Popen([ADMF, "status", "last", "--watch"], stdout=subprocess.PIPE, text=True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    answer, _ = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert "interrupted during the phase search" in answer
    assert admf("resume", "last").exit_code == 0
    assert json_of("status", "last", "--watch")["status"] == "completed"


def test_a_terminal_follows_a_run_until_nobody_looks_any_more(here, under_way):
    process = under_way("run", "study.yaml")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", INTERRUPTIBLE, str(ADMF), "status", "--watch"]
    watching = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    screen = ""
    while "2 of 5, in 2 shards" not in screen and select.select([ours], [], [], 20)[0]:
        screen += os.read(ours, 4096).decode()
    assert "running" in screen
    assert "search, 2 of 3" in screen
    assert re.search("phase ends.*about \\d\\d:\\d\\d:\\d\\d UTC", screen)
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=30)
    os.close(ours)
    assert watching.returncode == 130
    assert "the run goes on" in errors
    (here / "released").touch()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_fork_is_shown_with_its_origin(here):
    assert admf("run", "study.yaml").exit_code == 0
    source = json_of("runs")[0]["run"]
    shown = admf("fork", "last", "--from", "last", "--set", "last.capital=5000")
    assert shown.exit_code == 0
    assert f"forked from {source}/last#1" in shown.stdout
    fork = json_of("show", "last")
    assert [phase["status"] for phase in fork["phases"].values()] == ["reused", "reused", "completed"]
    assert fork["phases"]["search"]["output"]["trials"] == 5
    assert "search: highest sharpe_ratio of 5 trials" in admf("show", "last").stdout
    assert json_of("runs")[0]["completed"] == 3
    refused = admf("fork", source, "--from", "search", "--set", "first.capital=1")
    assert refused.exit_code == 2
    assert "first.capital was 100000.0" in refused.stderr
    assert admf("fork", source, "--from", "nothing").exit_code == 3


def test_a_replay_ends_with_code_1_where_anything_differs(here):
    for changes in ([], ["--set", "capital=5000"]):
        assert admf("run", "study.yaml", *changes).exit_code == 0
    (here / "walk.csv").unlink()
    (replayed,) = json_of("replay", "last")
    assert [phase["outcome"] for phase in replayed["phases"]] == ["identical"] * 3
    assert [replay["run"] for replay in json_of("replay", "--all")] == [run["run"] for run in json_of("runs")]
    assert admf("replay", "--all", "--workers", "2").exit_code == 0
    assert "search  identical" in admf("replay", "last", "--phase", "search").stdout

    (here / "mine.py").write_text(STRATEGY.replace("1.0, 0.0", "0.5, 0.0"))
    refused = admf("replay", "last")
    assert refused.exit_code == 1
    assert "began with other code: strategy mine" in refused.stderr
    every = admf("replay", "--all")
    assert every.exit_code == 1
    assert every.stdout.count("not replayed: phase 'first' began with other code: strategy mine was") == 2
    different = admf("replay", "last", "--accept-code")
    assert different.exit_code == 1
    assert re.search(
        r"first difference at \S+/first#\d+: SignalsEmitted.target was 1.0, and is 0.5", different.stdout
    )

    (here / "mine.py").unlink()
    missing = admf("replay", "last")
    assert missing.exit_code == 2
    assert "there is no strategy file 'mine.py'" in missing.stderr


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (3, ("resume", "nothing")),
        (3, ("cancel", "nothing")),
        (3, ("fork", "nothing", "--from", "first")),
        (3, ("replay", "nothing")),
        (3, ("replay", "last", "--phase", "nothing")),
        (3, ("status", "nothing")),
        (3, ("compare", "last", "nothing")),
        (2, ("replay",)),
        (2, ("replay", "last", "--all")),
        (2, ("replay", "--all", "--phase", "first")),
        (2, ("fork", "last")),
    ],
)
def test_wrong_usage_and_what_is_not_found(store_with_a_run, monkeypatch, code, arguments):
    monkeypatch.chdir(store_with_a_run)
    done = admf(*arguments)
    assert done.exit_code == code
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def store_with_a_run(tmp_path_factory):
    made = tmp_path_factory.mktemp("store")
    with Coordinator(made / ".admf") as coordinator:
        coordinator.execute_workflow(
            {"workflow": "backtest", "strategy": "momentum", "data_file": "sp500.csv"}
        )
    return made


@pytest.mark.parametrize(
    "arguments",
    [("resume", "x"), ("cancel", "x"), ("fork", "x", "--from", "y"), ("replay", "--all"), ("status",)],
)
def test_none_of_these_makes_a_store(folder, arguments):
    assert admf(*arguments).exit_code == 3
    assert not (folder / ".admf").exists()
