"""Letting engines take turns on one workload, each checked against ours before its time counts."""

import os
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from .agreement import difference, read_outcome
from .peers.protocol import KEEP, RUN, Task
from .sessions import Answer, Session, SessionError, whole_process
from .workloads import Workload, write_task

PEERS = Path(__file__).parent / "peers"
MODULES = "admf.benchmarks"


class Engine(NamedTuple):
    """Something that is measured.

    Attributes
    ----------
    name
        What tables call it; unique within a workload.
    command
        Starts it, without the task.
    options
        Of its task.
    fill
        The fill policy under which it is compared.
    rounds
        Counted runs; with 0 the first run counts, which is fair where it takes a minute.
    reference
        Name of the engine that it must agree with; empty where it is not compared.
    fee_rounding
        See `difference`.
    """

    name: str
    command: tuple[str, ...]
    options: dict[str, str] = {}  # noqa: RUF012 -- never changed
    fill: str = "next_open"
    rounds: int = 3
    reference: str = ""
    fee_rounding: float = 0.0


class Measured(NamedTuple):
    """What was measured of an engine; ``difference`` is empty where it agrees with its reference."""

    name: str
    seconds: list[float]
    answer: Answer
    peak_mb: float
    difference: str
    figures: dict[str, float]

    @property
    def median(self) -> float:
        """Median of the counted runs in seconds."""
        return statistics.median(self.seconds)


def ours(name: str, folder: Path, *, fill: str = "next_open", rounds: int = 3, **options: str) -> Engine:
    """Return admf with a store of its own in ``folder``, or in memory with ``store="memory://"``."""
    store = {"store": str(folder / name.replace(" ", "-").replace(",", "") / "events.sqlite")}
    command = (sys.executable, "-m", f"{MODULES}.ours")
    return Engine(name, command, store | options, fill, rounds)


def kernel(threads: int, reference: str, rounds: int) -> Engine:
    """Return the bare kernel on so many threads."""
    name = f"bare kernel, {threads} thread{'s' if threads > 1 else ''}, no log"
    command = (sys.executable, "-m", f"{MODULES}.kernel")
    return Engine(name, command, {"threads": str(threads)}, "next_open", rounds, reference)


def ratio(base: Measured, other: Measured) -> float | None:
    """Return how many times as long as ``base`` the other took; None where they did not do the same."""
    if base.difference or other.difference:
        return None
    return other.median / base.median


def take_turns(
    workload: Workload, engines: list[Engine], folder: Path, *, keep: bool = True
) -> dict[str, Measured]:
    """Run all engines on a workload, in turn, round after round.

    The first run of each is compared with its reference, which must stand before it, and is not counted. An
    engine that differs from its reference or fails is not run again; one without a reference must not fail.
    Without `keep`, nothing is compared.
    """
    folder = folder / workload.name
    folder.mkdir(parents=True, exist_ok=True)
    sessions: dict[str, Session] = {}
    tasks: dict[str, Task] = {}
    first: dict[str, Answer] = {}
    wrong: dict[str, str] = {}
    taken: dict[str, list[float]] = {engine.name: [] for engine in engines}
    peaks: dict[str, float] = {}
    figures: dict[str, dict[str, float]] = {}
    try:
        for number, engine in enumerate(engines):
            progress(f"{workload.title}: {engine.name}")
            task, path = write_task(workload, folder, f"{number}", fill=engine.fill, **engine.options)
            tasks[engine.name] = task
            try:
                sessions[engine.name] = Session(engine.command, path)
                first[engine.name] = sessions[engine.name].ask(KEEP if keep else RUN)
                wrong[engine.name] = _compared(engine, tasks) if keep else ""
            except SessionError as error:
                if not engine.reference:
                    raise
                first[engine.name] = Answer(float("nan"), float("nan"), {})
                wrong[engine.name] = f"failed: {error}"
            peaks[engine.name] = first[engine.name].peak_mb
        for turn in range(max(engine.rounds for engine in engines)):
            for engine in engines:
                if turn < engine.rounds and not wrong[engine.name]:
                    answer = sessions[engine.name].ask(RUN)
                    taken[engine.name].append(answer.seconds)
                    peaks[engine.name] = max(peaks[engine.name], answer.peak_mb)
        for engine in engines:
            ended = engine.name in sessions and not wrong[engine.name].startswith("failed")
            figures[engine.name] = sessions[engine.name].close() if ended else {}
    finally:
        for session in sessions.values():
            session.abandon()
    return {
        name: Measured(name, taken[name] or [answer.seconds], answer, peaks[name], wrong[name], figures[name])
        for name, answer in first.items()
    }


def _compared(engine: Engine, tasks: dict[str, Task]) -> str:
    if not engine.reference:
        return ""
    here, there = (read_outcome(Path(tasks[name]["result"])) for name in (engine.reference, engine.name))
    return difference(here, there, fee_rounding=engine.fee_rounding)


def one_process_each(
    commands: dict[str, tuple[str, ...]], rounds: int, folder: Path
) -> dict[str, list[float]]:
    """Return the seconds of whole processes, which take turns; a first round of all is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            progress(f"whole processes, round {turn}: {name}")
            seconds = whole_process(command, folder / "process.log")
            if turn:
                taken[name].append(seconds)
    return taken


def progress(text: str) -> None:
    """Say on standard error what is measured now."""
    print(f"  {text}", file=sys.stderr, flush=True)


def peer(
    name: str, python: Path, script: str, reference: str, *, rounds: int = 3, **more: str | float
) -> Engine:
    """Return a peer that one of the scripts in `peers` runs."""
    fill, rounding = str(more.get("fill", "next_open")), float(more.get("fee_rounding", 0.0))
    command = (os.fspath(python), str(PEERS / script))
    return Engine(name, command, {}, fill, rounds, reference, rounding)
