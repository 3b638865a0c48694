"""Executing one phase: a fresh bus and stream, its topology, and the events from its start to its output."""

from collections.abc import Sequence
from contextlib import closing
from functools import cache, partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from ...domain.bars import Window
from ...domain.codes import Stage
from ...domain.columns import joined
from ...domain.errors import AdmfError, ChangedError, StrategyError
from ...domain.events import (
    Event,
    Feed,
    PhaseEnd,
    PhaseOutputEvent,
    PhaseStageEntered,
    PhaseStarted,
    TrialsCompleted,
)
from ...domain.features import Feature
from ...domain.market import Market
from ...domain.panel import Panel
from ...domain.topology import Containers, Topology, needed_features
from ...eventstore.codec import EncodedEvent, decode, encode
from ...eventstore.record import Head
from ..configuration.sections import PhaseSection
from ..market.market_log import MarketLog
from ..phases import PHASES
from ..phases.classification import classification, classifier_code
from ..phases.context import PhaseContext
from ..phases.samplers import sampler_code
from ..phases.study import planned_trials
from ..simulation.components import source_hash
from ..simulation.executors import Executor
from ..simulation.shards import Simulation, shards_of
from ..simulation.topology_builder import build_topology
from ..streams.earlier_signals import read_source
from ..streams.earlier_trials import read_earlier, shards_in
from ..streams.trace_query import TraceQuery
from ..streams.tried_phases import read_searches
from .bus import PhaseBus, Subscriber
from .progress import Progress, TrialCounter


class Trace(Protocol):
    """Receives what a phase does, and knows what it did before it was stopped."""

    def receive(self, events: Sequence[EncodedEvent]) -> None:
        """Take one group of events; what it raises ends the phase."""

    @property
    def head(self) -> Head:
        """Where the phase's stream ends so far."""

    def recorded_start(self) -> PhaseStarted | None:
        """Return the event by which the phase started before, or None."""

    def recorded_trials(self) -> TrialsCompleted | None:
        """Return the trials of the next shard that need not be simulated again, or None."""


class PreparedPhase(msgspec.Struct, frozen=True):
    """A phase before its execution.

    Attributes
    ----------
    section, started
        Its configuration, and the event by which it starts.
    topology, features, planned
        What its configuration asks for, and the containers that follow from it alone.
    panel, window
        The bars that it may see, and those of them that it trades.
    """

    section: PhaseSection
    started: PhaseStarted
    topology: Topology
    features: tuple[Feature, ...]
    panel: Panel
    window: Window
    planned: Containers


class PhaseExecution(msgspec.Struct, frozen=True):
    """Executes phases.

    Attributes
    ----------
    market, earlier
        The bars that phases read, and what they ask the streams of earlier phases.
    executor, progress
        Where shards are simulated, and who follows.
    folder
        Where files of user strategies are looked for.
    accept_code
        Whether a phase that started with other code may go on with this code.
    """

    market: MarketLog
    earlier: TraceQuery
    executor: Executor
    progress: Progress
    folder: Path
    accept_code: bool = False

    def prepare(
        self,
        section: PhaseSection,
        feeds: tuple[Feed, ...],
        reads: tuple[str, ...] = (),
        sources: tuple[PhaseEnd, ...] = (),
    ) -> PreparedPhase:
        """Build what a phase needs, and the event by which it starts; nothing is executed yet.

        `reads` names the phases that its section has taken values from, and `sources` where the streams of
        other runs end that it reads.

        Raises
        ------
        AdmfError
            The phase can't be carried out.
        """
        kind = PHASES.get(section.type)
        topology = build_topology(section, (self.folder,), section.name)
        panel, window = self.market.window(section, feeds)
        planned = kind.plan(section, topology, window)
        features = () if kind.follows else needed_features(topology, planned)
        study = section.optimization if "optimization" in kind.sections else None
        started = PhaseStarted(
            phase=section.name,
            type=section.type,
            configuration=section.work_text(),
            depends_on=section.depends_on,
            feeds=feeds,
            strategies=tuple(slot.name for slot in topology.slots),
            features=tuple(str(feature) for feature in features),
            capital=section.capital,
            metric_profile=section.metrics.profile,
            code=_code(topology) | sampler_code(study) | classifier_code(section),
            planned=planned_trials(study, planned, section.ensemble),
            reads=reads,
            sources=sources,
        )
        return PreparedPhase(section, started, topology, features, panel.head(window.stop), window, planned)

    def run(
        self, phase: PreparedPhase, trace: Trace, *guards: Subscriber, clocks: Sequence[Subscriber] = ()
    ) -> None:
        """Execute a phase and hand everything that happens to `trace`, after the `guards` let it pass.

        `clocks` are told what is durable. What the trace knows already is not simulated again. The bus lives
        as long as this call, also when the phase fails.

        Raises
        ------
        ChangedError
            The phase started before, with other code that was not accepted.
        AdmfError
            The phase failed; the events up to then are in its stream.
        """
        section, feeds, topology, visible = phase.section, phase.started.feeds, phase.topology, phase.panel
        kind = PHASES.get(section.type)
        run = trace.head.stream.partition("/")[0]
        source = read_source(self.earlier, run, section, feeds) if kind.follows else None
        analyzes = kind.analyzes and section.inherit_best_from
        earlier = read_earlier(self.earlier, run, section, feeds, visible) if analyzes else None
        found = classification(section, visible)
        with PhaseBus(*guards, trace, TrialCounter(self.progress), *clocks) as bus:
            started = self._same_start(phase.started, trace.recorded_start())
            _publish(bus, started, *_entered(Stage.INITIALIZATION, Stage.DATA_PREPARATION))
            if found:
                _publish(bus, found.event(phase.window))
            signals = source.signals if source else None
            market = Market(visible, phase.features, regimes=found.labels if found else None)
            simulation = Simulation(section, self.folder, topology, market, signals)

            def simulate(containers: Containers) -> TrialsCompleted:
                return self._simulate(_with_features(simulation, containers), containers, bus, trace)

            publish = partial(_publish, bus)
            context = PhaseContext(
                section,
                topology,
                visible,
                phase.window,
                phase.planned,
                publish,
                simulate,
                source,
                earlier,
                found,
                partial(shards_in, self.earlier, trace.head.stream, section.capital, visible),
                partial(read_searches, self.earlier, run, section, phase.started.sources),
            )
            output = kind.run(context)
            if found and not output.regimes:
                output = msgspec.structs.replace(output, regimes=found.regimes(phase.window))
            handed_on = PhaseOutputEvent(phase=section.name, output=output)
            _publish(bus, *_entered(Stage.AGGREGATION, Stage.FINALIZATION), handed_on)

    def _simulate(
        self, simulation: Simulation, containers: Containers, bus: PhaseBus, trace: Trace
    ) -> TrialsCompleted:
        """Simulate containers shard by shard, appending the events of each in one transaction."""
        self.progress.trials_planned(len(containers))
        _publish(bus, *_entered(Stage.COMPUTATION))
        shards = shards_of(containers, simulation)
        parts: list[TrialsCompleted] = []
        missing: list[Containers] = []
        for shard in shards:
            recorded = trace.recorded_trials()
            if recorded is None:
                missing = [shard]
                break
            _require_same(shard, recorded)
            self.progress.trials_completed(len(recorded.container))
            parts.append(recorded)
        with closing(self.executor.map(simulation, chain(missing, shards))) as answers:
            for events in answers:
                bus.publish(events)
                last = decode(events[-1].topic, events[-1].schema_version, events[-1].payload)
                if not isinstance(last, TrialsCompleted):
                    raise AdmfError(f"a shard must end with its trials, and ended with {events[-1].topic}.")
                parts.append(last)
        _publish(bus, *_entered(Stage.VALIDATION))
        return _validated(joined(parts), len(containers))

    def _same_start(self, started: PhaseStarted, recorded: PhaseStarted | None) -> PhaseStarted:
        """Return the event by which a phase starts, which names the code that was recorded."""
        if recorded is None:
            return started
        changed = changed_code(recorded, started)
        if changed and not self.accept_code:
            raise ChangedError(
                f"phase {started.phase!r} began with other code: {'; '.join(changed)}. Restore that code, or "
                "go on with --accept-code."
            )
        return msgspec.structs.replace(started, code=recorded.code)


@cache
def package_version() -> str:
    """Return the version of this package, which takes a millisecond to look up."""
    return version("admf")


def changed_code(recorded: PhaseStarted, now: PhaseStarted) -> list[str]:
    """Say what differs between the code that a phase recorded and the code that would run now."""
    return [
        f"{name} was {recorded.code.get(name, 'not there')[:16]}, is {now.code.get(name, 'not there')[:16]}"
        for name in sorted({*recorded.code, *now.code})
        if recorded.code.get(name) != now.code.get(name)
    ]


def _publish(bus: PhaseBus, *events: Event) -> None:
    bus.publish([encode(event) for event in events])


def _entered(*stages: Stage) -> list[PhaseStageEntered]:
    return [PhaseStageEntered(stage=stage) for stage in stages]


def _with_features(simulation: Simulation, containers: Containers) -> Simulation:
    """Return a simulation with the features that some containers need, computed if they are not there."""
    if simulation.signals is not None:
        return simulation
    needed = needed_features(simulation.topology, containers)
    if simulation.market.rows.keys() >= set(needed):
        return simulation
    market = simulation.market
    return msgspec.structs.replace(simulation, market=Market(market.panel, needed, regimes=market.regimes))


def _require_same(shard: Containers, recorded: TrialsCompleted) -> None:
    """Refuse a recorded shard of other containers than those that are to be simulated now."""
    if recorded.container.size == len(shard) and all(
        np.array_equal(recorded.parameters.get(name, ()), column) for name, column in shard.parameters.items()
    ):
        return
    raise ChangedError(
        f"{len(shard)} containers from {shard.first_id} on are to be simulated now, and the log has "
        f"{recorded.container.size} with other parameters. The code, or a library that suggests points, has "
        "changed."
    )


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
    return {"admf": package_version()} | {name: value for name, value in hashes.items() if value}
