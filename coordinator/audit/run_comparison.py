"""What two runs have in common and where they part: configuration, metrics, and events."""

from collections.abc import Iterator
from itertools import zip_longest

import msgspec

from ...domain.errors import NotFoundError
from ...domain.events import PhaseStarted
from ...eventstore.codec import content_digest
from ...eventstore.record import Recorded
from ...eventstore.store import EventStore
from ..configuration.sections import PhaseSection
from ..streams.differences import NOTHING, first_difference, settings
from ..streams.run_history import RunHistory, run_history
from ..streams.trace_query import TraceQuery
from ..workflows.loading import Workflow, resolved_workflow


class Setting(msgspec.Struct, frozen=True):
    """A setting that differs, by its path; None where a run does not have it."""

    key: str
    first: str | None
    second: str | None


class Metric(msgspec.Struct, frozen=True):
    """A headline metric of a phase in both runs; ``change`` is the second minus the first."""

    name: str
    first: float
    second: float
    change: float


class Divergence(msgspec.Struct, frozen=True):
    """The first event after the start of a phase in which two streams differ.

    Attributes
    ----------
    event
        Number of the stored event in its stream.
    address
        Address of the logical event in the first run's stream.
    type, field
        Type of the event, and the column or field.
    first, second
        Both values, as text; ``nothing`` where a stream has ended.
    """

    event: int
    address: str
    type: str
    field: str
    first: str
    second: str


class PhaseEnd(msgspec.Struct, frozen=True):
    """Where the stream of a phase ends, and what was recorded in it."""

    stream: str
    events: int
    rows: int
    head_hash: str


class PhaseComparison(msgspec.Struct, frozen=True):
    """A phase in two runs.

    Attributes
    ----------
    phase
        Its name.
    first, second
        Where its stream ends in each run; None where the run has not begun it.
    identical
        Whether both streams hold the same.
    divergence
        Where they part after their start, which states the configuration; None if only that differs.
    metrics
        Of runs that have both completed it.
    """

    phase: str
    first: PhaseEnd | None
    second: PhaseEnd | None
    identical: bool
    divergence: Divergence | None
    metrics: tuple[Metric, ...]


class RunComparison(msgspec.Struct, frozen=True):
    """Two runs, their settings that differ, and their phases, in the order of the first run."""

    first: str
    second: str
    settings: tuple[Setting, ...]
    phases: tuple[PhaseComparison, ...]


def compare_runs(store: EventStore, first: str, second: str) -> RunComparison:
    """Compare two runs of one store.

    Settings are those of the resolved phases before the first has run; beside them stand the package, the
    stream of the bars and the code of each phase.

    Raises
    ------
    NotFoundError
        There is no such run.
    """
    histories = run_history(store, first), run_history(store, second)
    trace = TraceQuery(store)
    old, new = (_settings(store, history) for history in histories)
    differing = (
        Setting(key, old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)
    )
    names = dict.fromkeys(name for history in histories for name in history.started.phases)
    phases = tuple(_phase(store, trace, (first, second), name) for name in names)
    return RunComparison(first, second, tuple(differing), phases)


def _settings(store: EventStore, history: RunHistory) -> dict[str, str]:
    started, trace = history.started, TraceQuery(store)
    found: dict[str, object] = {
        "name": started.name,
        "seed": started.seed,
        "package_version": started.package_version,
    }
    workflow = Workflow.from_json(started.configuration, started.folder)
    for section in resolved_workflow(workflow).phases:
        found |= dict(settings(_plain(section), section.name))
        found[f"{section.name}.bars"] = ", ".join(feed.stream for feed in started.feeds[section.name])
        stream = trace.stream(history.head.stream, section.name)
        for recorded in store.read(stream, topics=(PhaseStarted.__name__,)):
            if isinstance(event := recorded.event, PhaseStarted):
                found |= {f"{section.name}.code.{name}": code for name, code in event.code.items()}
    return {key: str(value) for key, value in found.items()}


def _plain(section: PhaseSection) -> dict[str, object]:
    return section.model_dump(mode="json", exclude_none=True, exclude={"name"})


def _phase(store: EventStore, trace: TraceQuery, runs: tuple[str, str], phase: str) -> PhaseComparison:
    first, second = (_end(store, trace.stream(run, phase)) for run in runs)
    if first is None or second is None:
        return PhaseComparison(phase, first, second, identical=False, divergence=None, metrics=())
    identical = first.head_hash == second.head_hash
    divergence = None if identical else _divergence(store, first.stream, second.stream)
    metrics = tuple(_metrics(trace, runs, phase))
    return PhaseComparison(phase, first, second, identical, divergence, metrics)


def _end(store: EventStore, stream: str) -> PhaseEnd | None:
    head = store.head(stream)
    if head.version == 0:
        return None
    return PhaseEnd(stream, head.version, head.rows, head.content_hash.hex())


def _divergence(store: EventStore, first: str, second: str) -> Divergence | None:
    """Walk along two streams, after the events by which they start, to the first pair that differs."""
    for was, is_ in zip_longest(store.read(first, after=1), store.read(second, after=1)):
        if was is None or is_ is None:
            longer = was or is_
            ended = (longer.topic, NOTHING) if was else (NOTHING, longer.topic)
            return Divergence(longer.version, longer.address, longer.topic, "type", *ended)
        if _content(was) != _content(is_):
            found = first_difference(was, is_)
            values = (found.recorded, found.replayed)
            return Divergence(was.version, found.address, found.type, found.field, *values)
    return None


def _content(recorded: Recorded) -> tuple[str, int, bytes]:
    return recorded.topic, recorded.rows, content_digest(recorded.topic, recorded.payload)


def _metrics(trace: TraceQuery, runs: tuple[str, str], phase: str) -> Iterator[Metric]:
    try:
        first, second = (trace.get_phase_output(run, phase).metrics for run in runs)
    except NotFoundError:
        # A run has not completed it.
        return
    for name in (name for name in first if name in second):
        yield Metric(name, first[name], second[name], second[name] - first[name])
