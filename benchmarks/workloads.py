"""What is simulated: bars, and grids of averages. Everything follows from the size; nothing is downloaded."""

import json
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd
from admf.coordinator.market.market_data import find_data_file, load_bars

from .peers.protocol import Bars, Task

CAPITAL, UNITS, FEE = 10_000_000.0, 100.0, 0.001
"""The account of every engine: it always has the cash for a fixed number of units, so nothing is rounded."""

SEED = 42


class Grid(NamedTuple):
    """Every fast window with every slow one."""

    fast: range
    slow: range

    def __len__(self) -> int:
        return len(self.fast) * len(self.slow)


class Workload(NamedTuple):
    """Bars and a grid; ``daily`` bars are real ones, the others a random walk."""

    name: str
    bars: int
    daily: bool
    grid: Grid

    @property
    def title(self) -> str:
        """What is simulated, in words."""
        count, kind = len(self.grid), "daily" if self.daily else "minute"
        what = "1 container" if count == 1 else f"{count:,} combinations"
        return f"{what} x {self.bars:,} {kind} bars"


class Sizes(NamedTuple):
    """The workloads of a size of benchmark; ``sizes`` multiplies the containers of the ``daily`` sweep."""

    daily: Workload
    minute: Workload
    single: Workload
    hundred: Workload
    sizes: int


FULL = Sizes(
    Workload("daily", 2_148, True, Grid(range(5, 55), range(55, 255))),
    Workload("minute", 100_000, False, Grid(range(5, 25), range(30, 80))),
    Workload("single", 1_000_000, False, Grid(range(10, 11), range(30, 31))),
    Workload("hundred", 2_148, True, Grid(range(5, 15), range(30, 40))),
    100,
)
SMALL = Sizes(
    Workload("daily", 500, True, Grid(range(5, 15), range(20, 40))),
    Workload("minute", 5_000, False, Grid(range(5, 9), range(30, 35))),
    Workload("single", 10_000, False, Grid(range(10, 11), range(30, 31))),
    Workload("hundred", 500, True, Grid(range(5, 8), range(30, 33))),
    3,
)


def random_walk(count: int) -> Bars:
    """Return minute bars of a geometric random walk, with six decimals; no bar opens at the close before."""
    chance = np.random.default_rng(SEED)
    close = 100.0 * np.exp(np.cumsum(chance.normal(0.0, 0.0005, count)))
    opens = np.concatenate(([100.0], close[:-1])) * np.exp(chance.normal(0.0, 0.0001, count))
    high = np.maximum(opens, close) * (1.0 + np.abs(chance.normal(0.0, 0.0002, count)))
    low = np.minimum(opens, close) * (1.0 - np.abs(chance.normal(0.0, 0.0002, count)))
    time = np.datetime64("2020-01-01", "ns") + np.arange(count) * np.timedelta64(60, "s")
    columns = (np.round(column, 6) for column in (opens, high, low, close))
    return Bars(time, *columns, np.full(count, 1_000.0))


def daily_bars(count: int) -> Bars:
    """Return the last of the bundled daily bars of the S&P 500."""
    bars = load_bars(find_data_file("sp500.csv"), "SP500", "1d")
    columns = (getattr(bars, name)[-count:] for name in Bars._fields[1:])
    return Bars(bars.time[-count:].view("datetime64[ns]"), *columns)


def write_bars(workload: Workload, folder: Path) -> tuple[Path, Path]:
    """Write the bars of a workload as NPZ, for the peers, and as Parquet, for us; return both paths."""
    name = f"{'daily' if workload.daily else 'minute'}-{workload.bars}"
    arrays, table = folder / f"{name}.npz", folder / f"{name}.parquet"
    if not table.exists():
        bars = daily_bars(workload.bars) if workload.daily else random_walk(workload.bars)
        np.savez(arrays, **bars._asdict())
        frame = pd.DataFrame({"date": bars.time, **dict(zip(Bars._fields[1:], bars[1:], strict=True))})
        with duckdb.connect() as connection:
            connection.register("frame", frame)
            connection.execute(f"COPY (SELECT * FROM frame) TO '{table}' (FORMAT parquet)")
    return arrays, table


def write_task(
    workload: Workload, folder: Path, name: str, *, fill: str = "next_open", **options: str
) -> tuple[Task, Path]:
    """Write the task of one measured process into a file; return the task and the path."""
    arrays, table = write_bars(workload, folder)
    task = Task(
        bars=str(arrays),
        file=str(table),
        timeframe="1d" if workload.daily else "1m",
        fast=list(workload.grid.fast),
        slow=list(workload.grid.slow),
        capital=CAPITAL,
        units=UNITS,
        fee=FEE,
        fill=fill,
        options=options,
        result=str(folder / f"{name}.result.npz"),
    )
    path = folder / f"{name}.json"
    path.write_text(json.dumps(task))
    return task, path
