"""Compare admf with its peers: the same rule on the same bars in one session.

Run as ``make bench`` (or ``python -m admf.benchmarks.bench``). Peers are installed in an environment of
their own, whose interpreter ``--peers`` names. Trades and final equity are compared first, and an engine that
differs is not timed. Ends with 1 if any differs.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from . import plan
from .measuring import MODULES, Measured, ours, progress
from .report import Bar, Table, agreement_table, bars_table, replaced, timing_table
from .workloads import FULL, SMALL, Sizes, Workload, write_task

ROOT = Path(__file__).parent.parent


PARTS = (*plan.ROUNDS, "processes", "linear", "breakdown")


def compare(sizes: Sizes, python: Path, folder: Path, parts: tuple[str, ...]) -> tuple[list[Table], bool]:
    """Measure parts; return tables, each of which is also shown at once, and whether all agree."""
    tables: list[Table] = []
    bars: list[Bar] = []
    found: dict[str, dict[str, Measured]] = {}
    versions: dict[str, str] = {}

    def add(table: Table) -> None:
        print(table.markdown() + "\n", file=sys.stderr, flush=True)
        tables.append(table)

    for workload, measure in plan.comparisons(sizes, python, folder, parts):
        found[workload.name] = measured = measure()
        for one in measured.values():
            versions |= one.answer.versions
        add(timing_table(workload.title, measured, plan.OURS))
    bars += [*plan.sweep_bars(found), *plan.log_bars(found), *plan.size_bars(found)]
    if "processes" in parts:
        processes, table = plan.whole_processes(sizes, python, folder)
        add(table)
        bars += plan.process_bars(processes, found)
    if "linear" in parts:
        linear, table = plan.linearity(sizes, folder)
        add(table)
        bars.append(linear)
    if found:
        add(plan.size_table(found))
    if "breakdown" in parts:
        for workload in (sizes.daily, sizes.minute, sizes.single):
            add(breakdown(workload, folder))
    agreed = not any(one.difference for measured in found.values() for one in measured.values())
    return [bars_table([*bars, STOPS]), machine(versions), *tables], agreed


def agree(sizes: Sizes, python: Path, folder: Path) -> tuple[list[Table], bool]:
    """Let all engines run once; return tables that say nothing of time, and whether all agree."""
    tables, agreed = [], True
    for workload, measure in plan.comparisons(sizes, python, folder, tuple(plan.ROUNDS), timed=False):
        measured = measure()
        agreed &= not any(one.difference for one in measured.values())
        tables.append(agreement_table(workload.title, measured, plan.OURS))
    return tables, agreed


STOPS = Bar(
    "stops, volume slippage, two symbols", "20 million bar-steps/s per core", "the engine has none yet", None
)


def breakdown(workload: Workload, folder: Path) -> Table:
    """Show where the time of one warm run goes, in this process alone."""
    progress(f"{workload.title}: where the time goes")
    engine = ours("breakdown of " + workload.name, folder, workers="1")
    _, task = write_task(workload, folder, f"breakdown-{workload.name}", **engine.options)
    command = [sys.executable, "-m", f"{MODULES}.breakdown", str(task)]
    seconds: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    total = sum(seconds.values())
    rows = [
        (f"`{place}`", f"{taken:.3f}", f"{taken / total:.0%}") for place, taken in list(seconds.items())[:12]
    ]
    rows.append(("all", f"{total:.3f}", "100%"))
    title = f"Where our time goes: {workload.title}"
    return Table(title, ("function, with what it calls outside admf", "s", "part"), rows)


def machine(versions: dict[str, str]) -> Table:
    """Say on what, with what and when was measured."""
    facts = {
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load before": f"{os.getloadavg()[2]:.1f} (15 minutes)",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    ours_with = {name: importlib.metadata.version(name) for name in ("numpy", "numba", "duckdb", "ta-lib")}
    facts["versions"] = ", ".join(f"{name} {version}" for name, version in (versions | ours_with).items())
    return Table("Machine and versions", ("", ""), list(facts.items()))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("small", "full"), default="full", help="small: agreement only")
    parser.add_argument("--peers", type=Path, required=True, help="Python of the peers' environment")
    parser.add_argument("--write", type=Path, help="document whose measured part is replaced")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts of the full size")
    given = parser.parse_args()
    full = given.size == "full"
    if given.write and not (full and set(given.only) == set(PARTS)):
        parser.error("--write needs all parts of the full size.")
    # On the disk that the log would be on: /tmp may be memory, where a durable commit costs nothing.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT) as folder:
        if full:
            tables, agreed = compare(FULL, given.peers, Path(folder), tuple(given.only))
        else:
            tables, agreed = agree(SMALL, given.peers, Path(folder))
    text = "\n\n".join(table.markdown() for table in tables)
    print(text)
    if given.write:
        given.write.write_text(replaced(given.write.read_text(), text))
    if not agreed:
        sys.exit(1)


if __name__ == "__main__":
    main()
