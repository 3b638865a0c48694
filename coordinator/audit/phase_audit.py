"""Auditing the stream of a phase."""

from collections.abc import Iterator

import numpy as np
from pydantic import ValidationError

from ...domain.columns import joined
from ...domain.errors import AdmfError
from ...domain.events import (
    Event,
    InterestCharged,
    OrdersFilled,
    PhaseOutputEvent,
    PhaseStarted,
    RegimesClassified,
    TrialsCompleted,
)
from ...domain.panel import Panel
from ...eventstore.record import Recorded
from ..configuration.sections import OptimizationSection, PhaseSection
from ..market.market_log import MarketLog
from ..phases import PHASES
from .metrics_audit import Gauge
from .output_audit import output_faults
from .shard_audit import Batch, ContainerEvent, Fault, shard_faults, trial_faults
from .violation import Violation


class PhaseAudit:
    """Checks what happened in a phase, shard by shard, and what it hands on.

    Parameters
    ----------
    stream
        The phase's stream.
    market
        The bars in the log.

    Attributes
    ----------
    metrics
        Number of metrics that were compared.
    is_analysis
        Whether what it handed on follows from another stream, so that it must be computed again.
    """

    def __init__(self, stream: str, market: MarketLog) -> None:
        self._stream = stream
        self._market = market
        self._is_new = True
        self._started: PhaseStarted | None = None
        self._log = ""
        self._study: OptimizationSection | None = None
        self._fills_partly = False
        self._panel: Panel | None = None
        self._gauge: Gauge | None = None
        self._bars = 0
        self._shard: list[Batch] = []
        self._trials: list[TrialsCompleted] = []
        self.metrics = 0
        self.is_analysis = False

    def take(self, recorded: Recorded, event: Event) -> Iterator[Violation]:
        """Check the next event."""
        if isinstance(event, PhaseStarted):
            yield from self._start(recorded, event)
        elif self._started is None:
            if self._is_new:
                message = f"a phase must begin with PhaseStarted; found {recorded.topic} before it."
                yield Violation(recorded.address, "start", message)
        elif isinstance(event, ContainerEvent):
            self._shard.append(Batch(recorded, event))
        elif isinstance(event, TrialsCompleted):
            yield from self._end_shard(Batch(recorded, event), event, self._started)
        elif isinstance(event, RegimesClassified):
            yield from self._regimes(recorded, event)
        elif isinstance(event, PhaseOutputEvent):
            yield from self._output(recorded, event)
        self._is_new = False

    def end(self) -> Iterator[Violation]:
        """Check that nothing happened in a container that belongs to no trial."""
        for recorded, _ in self._shard:
            message = f"{recorded.topic} must be followed by the trials of its containers."
            yield Violation(recorded.address, "container", message)

    def _start(self, recorded: Recorded, event: PhaseStarted) -> Iterator[Violation]:
        if not event.feeds:
            yield Violation(recorded.address, "feed", "a phase must read bars; it names no feed.")
            return
        self._started = event
        self._bars = max(feed.rows for feed in event.feeds)
        try:
            section = PhaseSection.model_validate_json(event.configuration)
        except ValidationError as error:
            message = f"the configuration can't be read, so its metrics are not measured: {error}"
            yield Violation(recorded.address, "payload", message)
            return
        self._log, self._study = section.log, section.optimization
        self._fills_partly = section.execution.slippage.volume_limit > 0.0
        if section.log == "metrics" and len(event.feeds) == 1:
            return
        try:
            self._panel = self._market.panel(event.feeds)
            self._bars = len(self._panel)
            if section.log != "metrics":
                self._gauge = Gauge(event, section, self._panel)
        except AdmfError as error:
            yield Violation(recorded.address, "metrics", f"its metrics can't be measured: {error}")

    def _end_shard(self, batch: Batch, trials: TrialsCompleted, started: PhaseStarted) -> Iterator[Violation]:
        if trials.container.size == 0 or (self._trials and _names(trials) != _names(self._trials[0])):
            message = "there must be trials, with the parameters and metrics of those before them."
            yield Violation(batch.recorded.address, "payload", message)
            return
        first = sum(part.container.size for part in self._trials)
        faults: list[Fault] = [
            *trial_faults(batch, trials, first, self._bars),
            *shard_faults(
                self._shard,
                trials,
                started,
                self._panel,
                logs_orders=self._log == "full",
                fills_partly=self._fills_partly,
            ),
        ]
        unsound = set().union(*(fault.containers for fault in faults))
        sound = ~np.isin(trials.container, list(unsound))
        if self._gauge and sound.any():
            fills = [event for _, event in self._shard if isinstance(event, OrdersFilled)]
            charges = [event for _, event in self._shard if isinstance(event, InterestCharged)]
            faults.append(self._gauge.fault(batch, trials, fills, charges, sound))
            self.metrics += int(sound.sum()) * len(self._gauge.names)
        for fault in faults:
            yield from fault.violations()
        self._shard.clear()
        self._trials.append(trials)

    def _regimes(self, recorded: Recorded, event: RegimesClassified) -> Iterator[Violation]:
        bar, feeds = event.bar, len(self._started.feeds if self._started else ())
        is_known = (event.regime >= 0) & (bar >= 0) & (bar < self._bars)
        is_known &= (event.symbol >= 0) & (event.symbol < feeds)
        if not is_known.all() or (np.diff(bar) <= 0).any():
            message = "each row must name a regime, and a bar of the phase after that of the row before."
            yield Violation(recorded.address, "payload", message)

    def _output(self, recorded: Recorded, event: PhaseOutputEvent) -> Iterator[Violation]:
        kind = PHASES.get(self._started.type) if self._started else None
        # Weights follow from the trials of this stream, and members from others.
        self.is_analysis = kind is not None and (kind.analyzes or bool(event.output.weights))
        if kind is not None and kind.analyzes:
            return
        if not self._trials:
            yield Violation(recorded.address, "output", "it must follow from trials, and there are none.")
            return
        for message in output_faults(event.output, joined(self._trials), self._study):
            yield Violation(recorded.address, "output", message)


def _names(trials: TrialsCompleted) -> tuple[set[str], set[str]]:
    return set(trials.parameters), set(trials.metrics)
