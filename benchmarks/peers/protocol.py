"""What a measured process says and hears: a task in a file, one line in for each run, one line of JSON out.

It is shared by scripts of different environments, so it needs nothing but NumPy.
"""

import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np

RUN, KEEP = "run", "keep"
"""Requests: a timed run; a run that also keeps what came of it, in the task's ``result`` file."""


class Task(TypedDict):
    """What to simulate: long from the cross of the fast average above the slow one to the opposite cross.

    ``bars`` is an NPZ file with the columns of bars, ``file`` the same as Parquet; each pair of ``fast`` and
    ``slow`` is a combination, the slow ones varying first.
    """

    bars: str
    file: str
    timeframe: str
    fast: list[int]
    slow: list[int]
    capital: float
    units: float
    fee: float
    fill: str
    options: dict[str, str]
    result: str


class Outcome(NamedTuple):
    """What came of a run.

    ``equity`` (at the last close) and ``closed`` (trades from flat to flat) have one value for each
    combination; the other columns have one row per fill, in order of combination and bar. Where an engine
    does not say which fills a sweep made, they are empty.
    """

    equity: np.ndarray
    closed: np.ndarray
    combination: np.ndarray
    bar: np.ndarray
    quantity: np.ndarray
    price: np.ndarray


class Bars(NamedTuple):
    """Columns of bars; ``time`` is datetime64[ns]."""

    time: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray


def read_bars(task: Task) -> Bars:
    """Read the bars of a task."""
    with np.load(task["bars"]) as columns:
        return Bars(**{name: columns[name] for name in Bars._fields})


def combinations(task: Task) -> list[tuple[int, int]]:
    """Return the pairs of fast and slow, in the order in which results are compared."""
    return [(fast, slow) for fast in task["fast"] for slow in task["slow"]]


def outcome_of_fills(
    equity: list[float], closed: list[int], fills: list[tuple[int, int, float, float]]
) -> Outcome:
    """Return an outcome whose fills are rows of combination, bar, quantity and price."""
    columns = np.array(fills, np.float64).reshape(-1, 4)
    columns = columns[np.lexsort((columns[:, 1], columns[:, 0]))]
    return Outcome(
        np.asarray(equity, np.float64),
        np.asarray(closed, np.int64),
        columns[:, 0].astype(np.int32),
        columns[:, 1].astype(np.int32),
        columns[:, 2],
        columns[:, 3],
    )


def peak_mb() -> float:
    """Return the most memory that this process and its living children held, each at its own peak, in MB.

    It comes from VmHWM, which begins anew with each program; the maximum of getrusage would include the
    process that started this one.
    """
    total = 0
    for pid in [os.getpid(), *_children(os.getpid())]:
        # A child may end meanwhile.
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
    return total * 1024 / 1e6


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, task.read_text().split())


Ran = tuple[float, int, list[tuple[int, float, float]]]
"""Of one combination: final equity, trades closed, and fills as rows of bar, quantity and price."""

Backtest = Callable[[Task, Bars, tuple[int, int]], Ran]


def in_two_processes(backtest: Backtest, task: Task, bars: Bars) -> list[Ran]:
    """Backtest each combination, for engines that have no sweep: here if it is one, else in two processes.

    The processes are forked by the first call, which gives them the task and the bars, and stay.
    """
    pairs = combinations(task)
    if len(pairs) == 1:
        return [backtest(task, bars, pairs[0])]
    if not _POOL:
        context = multiprocessing.get_context("fork")
        _POOL.append(ProcessPoolExecutor(2, context, _given.extend, ((backtest, task, bars),)))
    return list(_POOL[0].map(_backtest_given, pairs, chunksize=5))


_POOL: list[ProcessPoolExecutor] = []
_given: list[object] = []


def _backtest_given(pair: tuple[int, int]) -> Ran:
    backtest, task, bars = _given
    return backtest(task, bars, pair)


def outcome_of_backtests(task: Task, bars: Bars, made: list[Ran]) -> Outcome:  # noqa: ARG001
    """Return the outcome of what `in_two_processes` returned."""
    fills = [(number, *fill) for number, (_, _, own) in enumerate(made) for fill in own]
    return outcome_of_fills([one[0] for one in made], [one[1] for one in made], fills)


def serve(
    run: Callable[[Task, Bars, bool], object],
    outcome: Callable[[Task, Bars, object], Outcome],
    versions: dict[str, str],
    close: Callable[[], dict[str, float]] = dict,
) -> None:
    """Answer requests until there are no more.

    Parameters
    ----------
    run
        Makes one run, which is what is timed; the last argument says that `outcome` will be asked.
    outcome
        Turns what `run` returned into an outcome; not timed.
    versions
        What is measured.
    close
        Called after the last request; its figures are the last line.
    """
    # What a library prints must not get in between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    task: Task = json.loads(Path(sys.argv[1]).read_text())
    bars = read_bars(task)
    for line in sys.stdin:
        keep = line.strip() == KEEP
        start = time.perf_counter()
        made = run(task, bars, keep)
        taken = time.perf_counter() - start
        answer = {"seconds": taken, "peak_mb": peak_mb(), "versions": versions}
        if keep:
            kept = outcome(task, bars, made)
            np.savez(task["result"], **kept._asdict())
            answer |= {"combinations": kept.equity.size, "trades": int(kept.closed.sum())}
            answer |= {"fills": kept.bar.size, "final_equity": float(kept.equity[-1])}
        print(json.dumps(answer), file=answers, flush=True)
    print(json.dumps(close()), file=answers, flush=True)
