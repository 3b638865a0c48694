"""One phase's simulation, as work that can be cut into shards and carried out in any process.

A shard is a range of containers. Its boundaries follow from the configuration and the data alone, and what it
yields depends on nothing but its containers; so the log is the same for every executor and number of workers.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

from ...domain.bars import Bars
from ...domain.compiled import is_compiled
from ...domain.engine import simulate, simulate_signals
from ...domain.events import SignalsEmitted
from ...domain.features import Feature
from ...domain.market import Market
from ...domain.panel import Panel
from ...domain.topology import Containers, Topology
from ...eventstore.codec import EncodedEvent, encode
from ..configuration.sections import PhaseSection
from ..streams.earlier_signals import SOURCE, Signals
from .topology_builder import build_topology

SHARD_STEPS = 4_000_000
"""Bars x containers up to which they are one shard, where the configuration does not fix its size."""


class Simulation(msgspec.Struct, frozen=True):
    """What the shards of a phase share.

    Attributes
    ----------
    section
        The phase's resolved configuration.
    folder
        Where files of user strategies are looked for.
    topology, market
        Built from the section; the market holds the features of all containers.
    signals
        Those of an earlier phase that the containers follow, instead of calling strategies.
    """

    section: PhaseSection
    folder: Path
    topology: Topology
    market: Market
    signals: Signals | None = None

    @property
    def is_compiled(self) -> bool:
        """Say whether threads can simulate at once: strategies are compiled, or not called."""
        return self.signals is not None or all(
            is_compiled(slot.strategy.function) for slot in self.topology.slots
        )

    def __call__(self, shard: Containers) -> list[EncodedEvent]:
        """Simulate a shard and return its events, ready to be appended."""
        if self.signals is None:
            return [encode(event) for event in simulate(self.topology, self.market, shard)]
        lines = self.signals.lines(self.topology, len(self.market.panel.bars), shard)
        # No features, so none is waited for.
        warm = np.zeros(len(shard), np.int64)
        events = simulate_signals(self.topology, self.market, shard, lines, warm)
        # The parameter names the container that has the signals: no need to have them twice.
        left_out = SignalsEmitted if SOURCE in shard.parameters else ()
        return [encode(event) for event in events if not isinstance(event, left_out)]


def shard_size(section: PhaseSection, containers: int, bars: int) -> int:
    """Return the number of containers in a shard: as configured, or evenly cut to suit their bars."""
    count = max(1, -(-containers * bars // SHARD_STEPS))
    return section.shard_size or max(1, -(-containers // count))


def shards_of(containers: Containers, simulation: Simulation) -> Iterator[Containers]:
    """Cut containers into shards of the configured size, or evenly into as many as suit their bars."""
    step = shard_size(simulation.section, len(containers), len(simulation.market.panel))
    for start in range(0, len(containers), step):
        yield containers.part(start, min(start + step, len(containers)))


class PublishedSimulation(msgspec.Struct, frozen=True):
    """A simulation whose bars and features lie in files that all processes map: shared, not copied."""

    section: str
    folder: Path
    published: Path

    def __call__(self, shard: Containers) -> list[EncodedEvent]:
        """Simulate a shard in the current process."""
        return _opened(self)(shard)


class _Contents(msgspec.Struct, frozen=True):
    """What the files of a published simulation hold: symbol and timeframe of each feed, and features."""

    feeds: list[tuple[str, str]]
    features: tuple[Feature, ...]


def publish(simulation: Simulation, folder: Path) -> PublishedSimulation:
    """Write the bars and features of a simulation into a folder, for other processes to map."""
    market = simulation.market
    for number, (bars, table) in enumerate(zip(market.panel.bars, market.tables, strict=True)):
        np.save(folder / f"{number}.time.npy", bars.time)
        np.save(folder / f"{number}.bars.npy", bars.prices)
        np.save(folder / f"{number}.features.npy", table)
    if simulation.signals is not None:
        simulation.signals.save(folder)
    if market.regimes is not None:
        np.save(folder / "regimes.npy", market.regimes)
    contents = _Contents([(bars.symbol, bars.timeframe) for bars in market.panel.bars], market.features)
    (folder / "contents.msgpack").write_bytes(msgspec.msgpack.encode(contents))
    return PublishedSimulation(simulation.section.json_text(), simulation.folder, folder)


@lru_cache(maxsize=1)
def _opened(published: PublishedSimulation) -> Simulation:
    section = PhaseSection.model_validate_json(published.section)
    folder = published.published
    contents = msgspec.msgpack.decode((folder / "contents.msgpack").read_bytes(), type=_Contents)
    feeds, tables = [], []
    for number, (symbol, timeframe) in enumerate(contents.feeds):
        prices = np.load(folder / f"{number}.bars.npy", mmap_mode="r")
        time = np.load(folder / f"{number}.time.npy", mmap_mode="r")
        feeds.append(Bars(symbol=symbol, timeframe=timeframe, time=time, prices=prices))
        tables.append(np.load(folder / f"{number}.features.npy", mmap_mode="r"))
    labels = folder / "regimes.npy"
    regimes = np.load(labels, mmap_mode="r") if labels.exists() else None
    market = Market(Panel(feeds), contents.features, tables, regimes)
    topology = build_topology(section, (published.folder,))
    return Simulation(section, published.folder, topology, market, Signals.load(folder))
