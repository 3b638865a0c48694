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
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from . import plan
from .measuring import MODULES, Measured, ours, progress
from .report import Table, agreement_table, bars_table, replaced, timing_table
from .workloads import FULL, SMALL, Sizes, Workload, write_task

ROOT = Path(__file__).parent.parent


def compare(
    sizes: Sizes, python: Path, folder: Path, *, timed: bool, only: Collection[str] = ()
) -> tuple[list[Table], bool]:
    """Let all engines run; return tables of agreement where time does not matter, and whether all agree.

    With ``only``, the workloads of these names, and of timed tables no more than theirs.
    """
    tables, agreed = [], True
    found: dict[str, dict[str, Measured]] = {}
    for workload, measure in plan.comparisons(sizes, python, folder, timed=timed):
        if only and workload.name not in only:
            continue
        measured = measure()
        found[workload.name] = measured
        agreed &= not any(one.difference for one in measured.values())
        make = timing_table if timed else agreement_table
        tables.append(make(workload.title, measured, plan.OURS))
    if only and timed:
        tables += [
            breakdown(workload, folder) for workload in plan.broken_down(sizes) if workload.name in only
        ]
    if only or not timed:
        return tables, agreed
    versions: dict[str, str] = {}
    for measured in found.values():
        for one in measured.values():
            versions |= one.answer.versions
    processes, process_table = plan.whole_processes(sizes, python, folder)
    stops, stops_table = plan.stops(sizes, folder)
    linear, linear_table = plan.linearity(sizes, folder)
    bars = [*plan.sweep_bars(found), *plan.process_bars(processes, found), *plan.log_bars(found)]
    bars += [stops, linear, *plan.size_bars(found)]
    tables = [bars_table(bars), *tables, process_table, stops_table, linear_table, plan.size_table(found)]
    tables += [breakdown(workload, folder) for workload in plan.broken_down(sizes)]
    return [machine(versions), *tables], agreed


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
    return Table(title, ("function, with what it calls outside admf", "s of all threads", "part"), rows)


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
    parser.add_argument("--only", nargs="+", choices=Sizes._fields[:-1], default=(), help="workloads")
    parser.add_argument("--write", type=Path, help="document whose measured part is replaced")
    given = parser.parse_args()
    if given.write and given.size != "full":
        parser.error("--write needs the full size: the small one measures nothing.")
    if given.write and given.only:
        parser.error("--write needs all workloads: leave --only out.")
    # On the disk that the log would be on: /tmp may be memory, where a durable commit costs nothing.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT) as folder:
        sizes = FULL if given.size == "full" else SMALL
        timed = given.size == "full"
        tables, agreed = compare(sizes, given.peers, Path(folder), timed=timed, only=given.only)
    text = "\n\n".join(table.markdown() for table in tables)
    print(text)
    if given.write:
        given.write.write_text(replaced(given.write.read_text(), text))
    if not agreed:
        sys.exit(1)


if __name__ == "__main__":
    main()
