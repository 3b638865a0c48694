"""Running strategies over bars outside of a phase, in this process and in others."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from ...domain.bars import Bars
from ...domain.errors import AdmfError, StrategyError
from ...domain.events import Float64, Scalar
from ...domain.features import SERIES, Feature, feature_table
from ...domain.market import Market
from ...domain.panel import Panel
from ...domain.strategies import Strategy
from ...domain.targets import strategy_targets
from ...domain.topology import StrategySlot
from .components import find_strategy

TIMEOUT = 300
"""Seconds after which a process that runs strategies is given up."""


class Point(msgspec.Struct, frozen=True):
    """A strategy, as configurations call it, with one choice of its parameters.

    ``writable`` says that it is handed arrays that it may change, which no phase does.
    """

    kind: str
    parameters: Mapping[str, Scalar]
    writable: bool = False


class Inputs(msgspec.Struct, frozen=True):
    """What a strategy is handed: the market with its features."""

    market: Market

    def columns(self) -> dict[str, Float64]:
        """Return the arrays by name: columns of bars, and features."""
        columns: dict[str, Float64] = {name: getattr(self.market.panel.bars[0], name) for name in SERIES}
        return columns | {str(spec): self.market.feature(spec) for spec in self.market.features}


def inputs_of(strategy: Strategy, point: Point, bars: Bars) -> Inputs:
    """Compute the features that a strategy needs; where it may write, everything is a copy."""
    specs: tuple[Feature, ...] = tuple(dict.fromkeys(strategy.needs(point.parameters).values()))
    table = feature_table(specs, bars)
    if not point.writable:
        return Inputs(Market(Panel([bars]), specs, [table]))
    own = msgspec.structs.replace(bars, prices=bars.prices.copy())
    return Inputs(Market(Panel([own]), specs, [table.copy()]))


def targets_of(strategy: Strategy, point: Point, inputs: Inputs) -> Float64:
    """Return a strategy's targets, shape (n_bars,); what it raises is a `StrategyError`."""
    slot = StrategySlot(name=strategy.name, strategy=strategy, parameters=point.parameters)
    targets, _ = strategy_targets(slot, point.parameters, inputs.market)
    return targets.copy()


class Request(msgspec.Struct, frozen=True):
    """What another process is to run: points over the bars in the files beside the request."""

    points: list[Point]
    folders: list[str]
    symbol: str
    timeframe: str


def targets_elsewhere(
    points: Sequence[Point], folders: Sequence[Path], bars: Bars, hash_seeds: Sequence[int]
) -> Iterator[list[Float64]]:
    """Run points in new processes, one for each seed of Python's hashes.

    Yields
    ------
    list of ndarray
        For each process the targets of each point, shape (n_bars,).

    Raises
    ------
    StrategyError
        A strategy raised there, or took too long.
    """
    with TemporaryDirectory(prefix="admf-") as name:
        folder = Path(name)
        np.save(folder / "time.npy", bars.time)
        np.save(folder / "prices.npy", bars.prices)
        places = [str(place.resolve()) for place in folders]
        request = Request(list(points), places, bars.symbol, bars.timeframe)
        (folder / "request.msgpack").write_bytes(msgspec.msgpack.encode(request))
        with _processes(folder, hash_seeds) as processes:
            for seed, process in zip(hash_seeds, processes, strict=True):
                try:
                    said = process.communicate(timeout=TIMEOUT)[1].decode(errors="replace").strip()
                except subprocess.TimeoutExpired as error:
                    raise StrategyError(f"in another process it took more than {TIMEOUT} s.") from error
                if process.returncode:
                    raise StrategyError(f"in another process it failed: {said.splitlines()[-1:]}")
                yield list(np.load(folder / f"targets-{seed}.npy"))


@contextmanager
def _processes(folder: Path, hash_seeds: Sequence[int]) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(folder), str(seed)],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for seed in hash_seeds
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def main() -> None:
    """Answer the request in a folder."""
    folder, seed = Path(sys.argv[1]), sys.argv[2]
    request = msgspec.msgpack.decode((folder / "request.msgpack").read_bytes(), type=Request)
    folders = [Path(place) for place in request.folders]
    time, prices = np.load(folder / "time.npy"), np.load(folder / "prices.npy")
    time.flags.writeable = prices.flags.writeable = False
    bars = Bars(symbol=request.symbol, timeframe=request.timeframe, time=time, prices=prices)
    targets = []
    for point in request.points:
        strategy = find_strategy(point.kind, folders)
        targets.append(targets_of(strategy, point, inputs_of(strategy, point, bars)))
    np.save(folder / f"targets-{seed}.npy", np.array(targets))


if __name__ == "__main__":
    try:
        main()
    except AdmfError as failure:
        sys.exit(str(failure))
