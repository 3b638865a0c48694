"""Executing one phase: a fresh bus and stream, its topology, and the events from its start to its output."""

from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np

from ..domain.bars import Bars, Window
from ..domain.columns import joined
from ..domain.errors import AdmfError, StrategyError
from ..domain.events import (
    Event,
    PhaseOutputEvent,
    PhaseStageEntered,
    PhaseStarted,
    Stage,
    TrialsCompleted,
)
from ..domain.features import feature_table
from ..domain.topology import Containers, Market, Topology, needed_features
from ..eventstore.codec import decode, encode
from ..eventstore.store import EventStore
from .bus import PhaseBus
from .components import source_hash
from .configuration import PhaseSection
from .executors import Executor
from .market_log import store_bars
from .phases import PHASES
from .phases.context import PhaseContext
from .progress import Progress, TrialCounter
from .simulation import Simulation, shards_of
from .stream_writer import StreamWriter
from .topology_builder import build_topology


class PhaseExecution(msgspec.Struct, frozen=True):
    """Executes phases.

    Attributes
    ----------
    store, executor, progress
        Where events go, where shards are simulated, and who follows.
    folder
        Where files of user strategies are looked for.
    """

    store: EventStore
    executor: Executor
    progress: Progress
    folder: Path

    def run(self, section: PhaseSection, bars: Bars, window: Window, writer: StreamWriter) -> None:
        """Execute a phase over the window and append all of its events with `writer`.

        The bus lives as long as this call, also when the phase fails.

        Raises
        ------
        AdmfError
            The phase failed; the events up to then are in its stream.
        """
        kind = PHASES.get(section.type)
        topology = build_topology(section, (self.folder,), section.name)
        visible = bars.head(window.stop)
        planned = kind.plan(section, topology, window)
        with PhaseBus(writer, TrialCounter(self.progress)) as bus:
            features = needed_features(topology, planned)
            started = PhaseStarted(
                phase=section.name,
                type=section.type,
                configuration=section.json_text(),
                depends_on=section.depends_on,
                feeds=(store_bars(self.store, bars),),
                strategies=tuple(slot.name for slot in topology.slots),
                features=tuple(str(feature) for feature in features),
                capital=section.capital,
                metric_profile=section.metrics.profile,
                code=_code(topology),
            )
            _publish(bus, started, *_entered(Stage.INITIALIZATION, Stage.DATA_PREPARATION))
            market = Market(visible, features, feature_table(features, visible))
            simulation = Simulation(section, self.folder, topology, market)
            context = PhaseContext(
                section, visible, window, planned, lambda shards: self._simulate(simulation, shards, bus)
            )
            output = kind.run(context)
            handed_on = PhaseOutputEvent(phase=section.name, output=output)
            _publish(bus, *_entered(Stage.AGGREGATION, Stage.FINALIZATION), handed_on)

    def _simulate(self, simulation: Simulation, containers: Containers, bus: PhaseBus) -> TrialsCompleted:
        """Simulate containers shard by shard, appending the events of each in one transaction."""
        self.progress.trials_planned(len(containers))
        _publish(bus, *_entered(Stage.COMPUTATION))
        parts: list[TrialsCompleted] = []
        with closing(self.executor.map(simulation, shards_of(containers, simulation))) as answers:
            for events in answers:
                bus.publish(events)
                last = decode(events[-1].topic, events[-1].schema_version, events[-1].payload)
                if not isinstance(last, TrialsCompleted):
                    raise AdmfError(f"a shard must end with its trials, and ended with {events[-1].topic}.")
                parts.append(last)
        _publish(bus, *_entered(Stage.VALIDATION))
        return _validated(joined(parts), len(containers))


def _publish(bus: PhaseBus, *events: Event) -> None:
    bus.publish([encode(event) for event in events])


def _entered(*stages: Stage) -> list[PhaseStageEntered]:
    return [PhaseStageEntered(stage=stage) for stage in stages]


def _validated(trials: TrialsCompleted, planned: int) -> TrialsCompleted:
    """Check that every planned container is there, in order, and that its account ended in a number."""
    equity = trials.metrics["final_equity"]
    wrong = ~np.isfinite(equity)
    if wrong.any():
        row = int(np.argmax(wrong))
        parameters = {name: column[row].item() for name, column in trials.parameters.items()}
        raise StrategyError(
            f"container {trials.container[row]} with the parameters {parameters} ended with an equity of "
            f"{equity[row]}, which is not a number; check the prices and the position sizer."
        )
    if trials.container.size != planned or (np.diff(trials.container) != 1).any():
        raise AdmfError(f"{planned} containers were planned, and {trials.container.size} came back.")
    return trials


def _code(topology: Topology) -> dict[str, str]:
    """Name what a phase runs: the package's version, and the hash of each user strategy's source."""
    hashes = {f"strategy {slot.name}": source_hash(slot.strategy) for slot in topology.slots}
    return {"admf": version("admf")} | {name: value for name, value in hashes.items() if value}
