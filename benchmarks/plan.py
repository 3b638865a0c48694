"""What is measured against what, and which goals it answers."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import yaml
from admf.coordinator.market.market_data import find_data_file, load_bars

from .measuring import PEERS, Engine, Measured, kernel, one_process_each, ours, peer, ratio, take_turns
from .ours import BUNDLED, workflow
from .report import Bar, Table, spread, times
from .workloads import Sizes, Workload, write_task

OURS = "admf, full log"
OURS_2 = "admf, full log, 2 workers"
METRICS = "admf, metrics only"
METRICS_2 = "admf, metrics only, 2 workers"
MEMORY = "admf, full log in memory"
SAME_CLOSE = "admf, full log, same close"
VECTORBT = "vectorbt (Rust)"
NAUTILUS = "NautilusTrader"
KERNELS = ("bare kernel, 1 thread, no log", "bare kernel, 2 threads, no log")

TO_THE_CENT = 0.005 + 1e-9
"""NautilusTrader rounds each fee to the currency's decimals."""


class Rounds(NamedTuple):
    """Counted runs of each engine on a workload: ours and vectorbt, and those that take longer."""

    fast: int
    backtesting: int = 0
    slow: int = 0


ROUNDS = {"daily": Rounds(11), "minute": Rounds(7), "single": Rounds(15, 2, 0), "hundred": Rounds(7, 2, 1)}


def comparisons(
    sizes: Sizes, python: Path, folder: Path, *, timed: bool
) -> Iterator[tuple[Workload, Callable[[], dict[str, Measured]]]]:
    """Yield each workload with what measures it."""
    for workload in (sizes.daily, sizes.minute, sizes.single, sizes.hundred):
        rounds = ROUNDS[workload.name] if timed else Rounds(0)
        engines = _engines(workload, python, folder / f"stores-{workload.name}", rounds, timed=timed)
        yield workload, partial(take_turns, workload, engines, folder)


def broken_down(sizes: Sizes) -> tuple[Workload, ...]:
    """Return the workloads of which a table shows where the time goes."""
    return sizes.daily, sizes.minute, sizes.single


def _engines(workload: Workload, python: Path, folder: Path, rounds: Rounds, *, timed: bool) -> list[Engine]:
    fast, many = rounds.fast, len(workload.grid) > 1
    engines = [ours(OURS, folder, rounds=fast, workers="1")]
    vectorbt = peer(VECTORBT, python, "with_vectorbt.py", OURS, rounds=fast)
    if many:
        engines.append(ours(OURS_2, folder, rounds=fast, workers="2")._replace(reference=OURS))
    engines += [
        vectorbt,
        ours(METRICS, folder, rounds=fast, workers="1", log="metrics")._replace(reference=OURS),
        ours(MEMORY, folder, rounds=fast, workers="1", store="memory://")._replace(reference=OURS),
        kernel(1, OURS, fast),
    ]
    if many:
        second = ours(METRICS_2, folder, rounds=fast, workers="2", log="metrics")
        engines += [second._replace(reference=OURS), kernel(2, OURS, fast)]
    if workload.name in ("single", "hundred"):
        engines.append(peer("backtesting.py", python, "with_backtesting.py", OURS, rounds=rounds.backtesting))
        if timed:
            engines += _slow_peers(python, folder, rounds)
    return engines


def _slow_peers(python: Path, folder: Path, rounds: Rounds) -> list[Engine]:
    same_close = ours(SAME_CLOSE, folder, fill="same_close", rounds=rounds.fast, workers="1")
    nautilus = partial(peer, NAUTILUS, python, "with_nautilus.py", SAME_CLOSE, rounds=rounds.slow)
    return [
        peer("PyBroker", python, "with_pybroker.py", OURS, rounds=rounds.slow),
        peer("backtrader", python, "with_backtrader.py", OURS, rounds=rounds.slow),
        same_close,
        nautilus(fill="same_close", fee_rounding=TO_THE_CENT),
    ]


def whole_processes(
    sizes: Sizes, python: Path, folder: Path
) -> tuple[dict[str, dict[str, list[float]]], Table]:
    """Time ``admf run`` from its start to its exit, against a process of vectorbt that does the same."""
    found = {}
    for workload, rounds in ((sizes.daily, 7), (sizes.minute, 5), (sizes.single, 7)):
        place = folder / f"processes-{workload.name}"
        place.mkdir()
        task, path = write_task(workload, place, "task")
        described = place / "workflow.yaml"
        described.write_text(yaml.safe_dump(workflow(task)))
        command = (sys.executable, "-m", "admf", "--store", str(place / "store"), "run", str(described))
        commands = {
            "admf run": command,
            "admf run --workers 2": (*command, "--workers", "2"),
            VECTORBT: (str(python), str(PEERS / "with_vectorbt.py"), str(path)),
        }
        if len(workload.grid) == 1:
            del commands["admf run --workers 2"]
        found[workload.title] = one_process_each(commands, rounds, place)
    rows = [
        (title, name, spread(seconds), times(median(seconds) / median(taken["admf run"])))
        for title, taken in found.items()
        for name, seconds in taken.items()
    ]
    header = ("work", "process", "start to exit", "of admf run")
    return found, Table("Whole processes, with warm caches", header, rows)


def stops(sizes: Sizes, folder: Path) -> tuple[Bar, Table]:
    """Run a sweep of two symbols whose positions have exits and whose fills are limited by volume."""
    engine = ours("stops", folder / "stores-stops", rounds=3, workers="1", stops="1")
    taken = take_turns(sizes.daily, [engine], folder / "stops", keep=False)[engine.name]
    cores = os.cpu_count() or 1
    bars = sum(len(load_bars(find_data_file(file), symbol, "1d")) for symbol, file in BUNDLED.items())
    steps = len(sizes.daily.grid) * bars / 1e6
    speed = steps / taken.median / cores
    bar = Bar(
        "stops, volume slippage, two symbols",
        "20 million bar-steps/s per core",
        f"{speed:.0f} million",
        speed >= 20,
    )
    row = (
        f"{len(sizes.daily.grid):,}",
        f"{steps:,.1f} million",
        spread(taken.seconds),
        f"{speed:.1f} million",
    )
    header = ("containers", "bars of all containers", "time", "bars per second and core")
    note = (
        "The daily sweep on both bundled indexes, twenty years each, in one account: a stop loss of 5 %, a "
        "take profit of 10 %, at most 10 % of a bar's volume, slippage and price impact; full log, durable."
    )
    return bar, Table("Stops, volume and two symbols", header, [row], note)


def linearity(sizes: Sizes, folder: Path) -> tuple[Bar, Table]:
    """Run the daily sweep with one size of position, and with so many that there are a million containers."""
    base, places = len(sizes.daily.grid), folder / "stores-linear"
    engines = {
        base * count: ours(f"{count} sizes", places, rounds=rounds, workers="2", sizes=str(count))
        for count, rounds in ((1, 5), (sizes.sizes, 0))
    }
    found = {
        count: take_turns(sizes.daily, [engine], folder / f"linear-{count}", keep=False)[engine.name]
        for count, engine in engines.items()
    }
    one, many = found[base], found[base * sizes.sizes]
    growth = many.median / (one.median * sizes.sizes)
    rows = [
        (f"{count:,}", spread(taken.seconds), f"{taken.median / count * 1e6:.1f} us", f"{taken.peak_mb:,.0f}")
        for count, taken in found.items()
    ]
    note = (
        "The daily sweep with a full log and two workers; more containers by more position sizes, so that "
        "each trades as often. The peak is the sum over the three processes."
    )
    bar = Bar(
        f"{base * sizes.sizes:,} combinations",
        f"2 GiB; within 10 % of linear from {base:,}",
        f"{many.peak_mb * 1e6 / 2**30:.2f} GiB; {growth:.2f} of linear",
        many.peak_mb * 1e6 < 2 * 2**30 and growth <= 1.1,
    )
    return bar, Table("Memory and time as sweeps grow", ("containers", "time", "each", "peak MB"), rows, note)


def _best(measured: dict[str, Measured], *names: str) -> Measured:
    return min((measured[name] for name in names if name in measured), key=lambda one: one.median)


def _faster(work: str, goal: float, base: Measured, other: Measured) -> Bar:
    value = ratio(base, other)
    return Bar(
        work,
        f"{goal:,g}x {other.name}",
        f"{times(value)} ({base.name})" if value else other.difference,
        None if value is None else value >= goal,
    )


def sweep_bars(found: dict[str, dict[str, Measured]]) -> list[Bar]:
    """Return the goals of the three workloads through the Python interface."""
    daily, minute, single = (found[name] for name in ("daily", "minute", "single"))
    best = _best(daily, OURS, OURS_2)
    bare = _best(daily, *KERNELS)
    cost = best.median / bare.median
    return [
        _faster("daily sweep", 20, best, daily[VECTORBT]),
        Bar("daily sweep", "at most 2x the bare kernel", f"{times(cost)} ({bare.name})", cost <= 2),
        _faster("minute sweep", 15, _best(minute, OURS, OURS_2), minute[VECTORBT]),
        _faster("one container", 4, single[OURS], single[VECTORBT]),
        _faster("one container", 1_000, single[SAME_CLOSE], single[NAUTILUS]),
    ]


def process_bars(
    processes: dict[str, dict[str, list[float]]], found: dict[str, dict[str, Measured]]
) -> list[Bar]:
    """Return the goals of whole processes; they do what was compared through the Python interface."""
    bars = []
    names = ("daily", "minute", "single")
    for name, goal, (title, taken) in zip(names, (5, 8, 4), processes.items(), strict=True):
        wrong = found[name][VECTORBT].difference
        value = median(taken[VECTORBT]) / min(median(taken[own]) for own in taken if own != VECTORBT)
        bars.append(
            Bar(
                f"`admf run`, {title}",
                f"{goal}x vectorbt's process",
                wrong or times(value),
                None if wrong else value >= goal,
            )
        )
    return bars


def log_bars(found: dict[str, dict[str, Measured]]) -> list[Bar]:
    """Return what the log costs: all of it, durable, against metrics only, each as fast as it goes."""
    bars = []
    for name in ("daily", "minute", "single"):
        full, bare = _best(found[name], OURS, OURS_2), _best(found[name], METRICS, METRICS_2)
        extra = full.median - bare.median
        part = extra / bare.median
        met = part < 0.05 if name == "minute" else part < 0.30 or extra < 0.010
        goal = "under 5 %" if name == "minute" else "under 30 % or 10 ms"
        bars.append(
            Bar(f"cost of the log, {name}", goal, f"{part:+.0%}, {extra * 1e3:+,.0f} ms ({full.name})", met)
        )
    return bars


def size_bars(found: dict[str, dict[str, Measured]]) -> list[Bar]:
    """Return the goal of stored size, for each workload."""
    bars = []
    for name in ("daily", "minute", "single"):
        figures = found[name][OURS].figures
        size = figures["logical_bytes"] / figures["logical_rows"]
        bars.append(
            Bar(f"stored size, {name}", "under 12 bytes per logical row", f"{size:.2f} bytes", size < 12)
        )
    return bars


def size_table(found: dict[str, dict[str, Measured]]) -> Table:
    """Show what is stored."""
    rows = []
    for name in ("daily", "minute", "single"):
        one = found[name][OURS]
        runs, figures = len(one.seconds) + 1, one.figures
        rows.append(
            (
                name,
                f"{figures['logical_rows']:,.0f}",
                f"{figures['logical_bytes'] / figures['logical_rows']:.2f}",
                f"{figures['stored_bytes'] / 1e6:,.1f} MB of {runs} runs",
                f"{figures['stored_bytes'] / figures['logical_rows'] / runs:.2f}",
            )
        )
    header = ("work", "rows of a run", "bytes per row", "whole file", "bytes of the file per row")
    note = "Rows are signals, orders and fills. The whole file also holds bars, trials and indexes."
    return Table("Stored size", header, rows, note)
