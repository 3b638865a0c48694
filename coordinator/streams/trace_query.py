"""What later phases, and people, ask the streams of a run: the only way data pass from phase to phase."""

from collections import Counter
from collections.abc import Iterator

from ...domain.errors import NotFoundError
from ...domain.events import Event, PhaseOutput, PhaseOutputEvent, PhaseReused, PhaseStarted
from ...eventstore.record import Head, Recorded
from ...eventstore.store import EventStore


def phase_stream(workflow_id: str, phase_name: str, turn: int = 1) -> str:
    """Name the stream of a turn of a phase that a run executes itself; see `TraceQuery.stream`."""
    return f"{workflow_id}/{phase_name}{f'#{turn}' if turn > 1 else ''}"


class TraceQuery:
    """Questions about the streams of runs.

    Parameters
    ----------
    store
        The event store.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def stream(self, workflow_id: str, phase_name: str) -> str:
        """Return the stream of the last turn of a phase; of a reused one, in the run that executed it."""
        return self.turns(workflow_id, phase_name)[-1]

    def turns(self, workflow_id: str, phase_name: str) -> list[str]:
        """Return the streams of the turns that a phase has begun, of a reused one only that of the last.

        Where none has begun, that of the first is returned.
        """
        for recorded in self._store.read(workflow_id, topics=(PhaseReused.__name__,)):
            event = recorded.event
            if isinstance(event, PhaseReused) and event.phase == phase_name:
                return [event.stream]
        turns = [phase_stream(workflow_id, phase_name)]
        while self._store.head(following := phase_stream(workflow_id, phase_name, len(turns) + 1)).version:
            turns.append(following)
        return turns

    def get_phase_output(self, workflow_id: str, phase_name: str) -> PhaseOutput:
        """Return what a phase handed on.

        Raises
        ------
        NotFoundError
            The run has no such phase, or the phase has not ended well.
        """
        return self.output_in(self.stream(workflow_id, phase_name))[0]

    def output_address(self, workflow_id: str, phase_name: str) -> str:
        """Return the address of the event that `get_phase_output` reads; raises like it."""
        return self.output_in(self.stream(workflow_id, phase_name))[1]

    def output_in(self, stream: str) -> tuple[PhaseOutput, str]:
        """Return what the phase of a stream handed on, and the address of that event.

        Raises
        ------
        NotFoundError
            There is no such stream, or its phase has not ended well.
        """
        for recorded in self._store.read(stream, topics=(PhaseOutputEvent.__name__,)):
            event = recorded.event
            if isinstance(event, PhaseOutputEvent):
                return event.output, recorded.address
        workflow_id, _, phase_name = stream.partition("/")
        raise NotFoundError(
            f"the phase {phase_name!r} of the run {workflow_id!r} has handed nothing on: "
            "it does not exist, or has not ended well."
        )

    def get_phase_configuration(self, workflow_id: str, phase_name: str) -> str:
        """Return the resolved configuration of a phase that has started, as JSON.

        Raises
        ------
        NotFoundError
            The run has no such phase.
        """
        stream = self.stream(workflow_id, phase_name)
        if started := self.start(stream):
            return started.configuration
        raise NotFoundError(f"there is no phase {phase_name!r} in the run {workflow_id!r}.")

    def events(self, stream: str, *types: str) -> Iterator[Recorded]:
        """Return the events of a stream in order, only those of the given types if there are any."""
        return self._store.read(stream, topics=types)

    def start(self, stream: str) -> PhaseStarted | None:
        """Return the event by which the phase of a stream began, if there is one."""
        first = next(self._store.read(stream, topics=(PhaseStarted.__name__,)), None)
        return first.event if first and isinstance(first.event, PhaseStarted) else None

    def end(self, stream: str) -> Head:
        """Return where a stream ends."""
        return self._store.head(stream)

    def log(self, *types: type[Event]) -> Iterator[Recorded]:
        """Return the events of some types in all streams, in the order of the log."""
        return self._store.read_all(topics=tuple(each.__name__ for each in types))

    def summary(self, stream: str) -> dict[str, int]:
        """Return the number of logical rows of each type of event in a stream."""
        rows: Counter[str] = Counter()
        for recorded in self._store.read(stream):
            rows[recorded.topic] += recorded.rows
        return dict(sorted(rows.items()))
