"""What streams say about one another."""

from collections.abc import Callable, Iterator

from ...domain.events import (
    Event,
    Feed,
    PhaseEnd,
    PhaseOutputEvent,
    PhaseStarted,
    WorkflowForked,
    WorkflowStarted,
)
from ...eventstore.record import Head, Recorded
from .violation import Violation


class StreamReferences:
    """Collects what events say about other streams, and compares it with those.

    Parameters
    ----------
    end_of
        Tells where a stream ends, as far as it has been read, and the type of its last event.
    """

    def __init__(self, end_of: Callable[[str], tuple[Head, str]]) -> None:
        self._end_of = end_of
        self._causes: dict[str, str] = {}
        self._forks: set[str] = set()
        self._feeds: dict[Feed, str] = {}
        self._ends: list[tuple[str, PhaseEnd]] = []
        self.streams: dict[str, None] = {}
        """The streams of the phases and bars that were named, in order."""

    def note(self, recorded: Recorded, event: Event | None) -> None:
        """Remember what an event refers to, as far as it could be read."""
        if recorded.causation_id:
            self._causes.setdefault(recorded.causation_id, recorded.address)
        if isinstance(event, WorkflowForked):
            self._forks.add(recorded.causation_id)
        match event:
            case WorkflowStarted():
                self._note_feeds(recorded, tuple(feed for read in event.feeds.values() for feed in read))
                self.streams |= {f"{recorded.stream}/{phase}": None for phase in event.phases}
            case PhaseStarted():
                self._note_feeds(recorded, event.feeds)
                for source in event.sources:
                    self.streams[source.stream] = None
                    self._ends.append((recorded.address, source))
            case PhaseEnd():
                self.streams[event.stream] = None
                self._ends.append((recorded.address, event))

    def _note_feeds(self, recorded: Recorded, feeds: tuple[Feed, ...]) -> None:
        for feed in feeds:
            self.streams[feed.stream] = None
            self._feeds.setdefault(feed, recorded.address)

    def violations(self) -> Iterator[Violation]:
        """Check everything that was noted, once all streams have been read."""
        yield from self._missing_causes()
        yield from self._missing_bars()
        for address, event in self._ends:
            yield from self._phase_end(address, event)

    def _missing_causes(self) -> Iterator[Violation]:
        for cause, address in self._causes.items():
            stream, _, number = cause.rpartition("#")
            rows = self._end_of(stream)[0].rows
            # A fork may live in another store than the run that it was forked from, but then as a whole.
            if cause in self._forks and rows == 0:
                continue
            if not (number.isdecimal() and 1 <= int(number) <= rows):
                message = f"the event that led to it, {cause}, must be in the log, and is not."
                yield Violation(address, "cause", message)

    def _missing_bars(self) -> Iterator[Violation]:
        for feed, address in self._feeds.items():
            rows = self._end_of(feed.stream)[0].rows
            if rows != feed.rows + feed.sessions:
                named = f"{feed.rows} bars" + (f" and {feed.sessions} sessions" if feed.sessions else "")
                yield Violation(
                    address, "feed", f"{named} must be in the stream {feed.stream}; found {rows}."
                )

    def _phase_end(self, address: str, event: PhaseEnd) -> Iterator[Violation]:
        end, topic = self._end_of(event.stream)
        found = (end.version, end.rows, end.content_hash.hex())
        if found != (event.events, event.rows, event.head_hash):
            yield Violation(
                address,
                "phase",
                f"{event.stream} must end with event {event.events}, row {event.rows} and content hash "
                f"{event.head_hash}; found event {found[0]}, row {found[1]} and content hash {found[2]}.",
            )
        if topic != PhaseOutputEvent.__name__:
            yield Violation(
                f"{event.stream}#{end.rows}",
                "phase",
                f"a completed phase must end with its output; found {topic or 'no event'}.",
            )
