"""The searches whose winning trials are compared: one of a run itself, and those of other runs in its store.

Which of other runs were read is recorded with the begin of the phase, so that a resume or a replay reads the
same, whatever the store holds by then.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ...domain.columns import joined
from ...domain.errors import ChangedError, NotFoundError
from ...domain.events import (
    PhaseCompleted,
    PhaseEnd,
    PhaseOutput,
    PhaseRepeated,
    PhaseStarted,
    TrialsCompleted,
    WorkflowStarted,
)
from ..configuration.sections import PhaseSection
from .trace_query import TraceQuery


class TriedPhase(NamedTuple):
    """A search: its stream, the streams of its bars, its trials, and what it handed on."""

    stream: str
    bars: tuple[str, ...]
    trials: TrialsCompleted
    output: PhaseOutput


def other_searches(trace: TraceQuery, run: str, section: PhaseSection) -> tuple[PhaseEnd, ...]:
    """Find the searches of other runs that a phase is to read, in the order in which they ended.

    They are the completed phases of type ``optimization`` with strategies of the same names and types. A run
    that did exactly the same as another one tells nothing new, and is left out.

    Raises
    ------
    NotFoundError
        A run that the phase names is not in the store.
    """
    wanted = section.patterns
    if wanted is None or not wanted.runs:
        return ()
    names: dict[str, str] = {}
    found: dict[str, PhaseEnd] = {}
    for recorded in trace.log(WorkflowStarted, PhaseCompleted, PhaseRepeated):
        event, other = recorded.event, recorded.stream
        # A stream that is no run's only notes what a run has completed.
        if isinstance(event, WorkflowStarted):
            names[other] = event.name
        elif (
            isinstance(event, PhaseEnd)
            and other != run
            and other in names
            and _is_named(section, other, names[other])
        ):
            started = trace.start(event.stream)
            if event.head_hash not in found and started and _is_alike(section, started):
                found[event.head_hash] = _plain(event)
    for part in () if wanted.runs == "all" else wanted.runs:
        if not any(other.endswith(part) for other in names):
            raise NotFoundError(
                f"phase {section.name!r}.patterns.runs: there is no run {part!r} in this store; `admf runs` "
                "lists the runs."
            )
    return tuple(found.values())


def read_searches(
    trace: TraceQuery, run: str, section: PhaseSection, others: tuple[PhaseEnd, ...]
) -> Iterator[TriedPhase]:
    """Read the search that a phase names by ``of``, all its turns, and then those of other runs.

    Raises
    ------
    ChangedError
        A stream of another run does not end as it did when the phase began.
    """
    of = section.inherit_best_from
    own = trace.turns(run, of) if of else []
    known = {trace.end(stream).content_hash.hex() for stream in own}
    for other in others:
        if trace.end(other.stream).content_hash.hex() != other.head_hash:
            raise ChangedError(
                f"phase {section.name!r} read the stream {other.stream} up to event {other.events}, and this "
                "store has another one, or none; import an archive of that run."
            )
    for stream in (*own, *(other.stream for other in others if other.head_hash not in known)):
        started = trace.start(stream)
        events = (recorded.event for recorded in trace.events(stream, TrialsCompleted.__name__))
        parts = [event for event in events if isinstance(event, TrialsCompleted)]
        if started and parts:
            bars = tuple(feed.stream for feed in started.feeds)
            yield TriedPhase(stream, bars, joined(parts), trace.output_in(stream)[0])


def _is_named(section: PhaseSection, run: str, name: str) -> bool:
    wanted = section.patterns
    if wanted is None or (wanted.workflow and wanted.workflow != name):
        return False
    return wanted.runs == "all" or any(run.endswith(part) for part in wanted.runs)


def _is_alike(section: PhaseSection, started: PhaseStarted) -> bool:
    if started.type != "optimization":
        return False
    theirs = PhaseSection.model_validate_json(started.configuration).strategies
    return [(each.name, each.type) for each in section.strategies] == [
        (each.name, each.type) for each in theirs
    ]


def _plain(event: PhaseEnd) -> PhaseEnd:
    """Return nothing but where the stream ends, whatever else the event says."""
    return PhaseEnd(**{name: getattr(event, name) for name in PhaseEnd.__struct_fields__})
