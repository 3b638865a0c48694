"""What a run may take, and stopping it before it takes more."""

from collections.abc import Iterable, Sequence
from threading import Lock
from time import monotonic

from ...domain.errors import ConfigurationError, LimitError
from ...domain.events import TrialsCompleted
from ...eventstore.codec import EncodedEvent
from ...eventstore.record import Head
from ..configuration.resources_section import ResourcesSection
from ..streams.stream_writer import Tracer


class Limits:
    """What a run has taken, of events and time, since a process took it over.

    Parameters
    ----------
    resources
        What it may take.
    heads
        Where the streams of the phases end that have begun.
    """

    def __init__(self, resources: ResourcesSection, heads: Iterable[Head]) -> None:
        self._resources = resources
        self._rows = {head.stream: head.rows for head in heads}
        self._began = monotonic()
        self._lock = Lock()

    def require_events(self, stream: str, rows: int) -> None:
        """Take note that a stream is to end with this row.

        Raises
        ------
        LimitError
            All streams together would have too many rows.
        """
        with self._lock:
            before, most = self._rows.get(stream, 0), self._resources.max_events
            total = sum(self._rows.values()) - before + rows
            if rows > before and most and total > most:
                raise LimitError(
                    "max_events",
                    f"its phases may log {most:,} events, and would have {total:,}; all completed shards are "
                    "kept.",
                )
            self._rows[stream] = max(before, rows)

    def require_time(self) -> None:
        """Let the run go on; raise `LimitError` where its time is over."""
        most = self._resources.max_seconds
        if most and monotonic() - self._began > most:
            raise LimitError("max_seconds", f"{most:g} s have passed; all completed shards are kept.")


class LimitGuard:
    """Ends a phase before an append that would be too much."""

    def __init__(self, limits: Limits, tracer: Tracer) -> None:
        self._limits = limits
        self._tracer = tracer

    def receive(self, events: Sequence[EncodedEvent]) -> None:
        """Let a group pass, as a guard of the bus of a phase; raises `LimitError`."""
        head = self._tracer.head
        self._limits.require_events(head.stream, head.rows + sum(event.rows for event in events))


class LimitClock:
    """Ends a phase, after a shard whose events are durable, where the time of its run is over."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def receive(self, events: Sequence[EncodedEvent]) -> None:
        """Take note of a group, as the last subscriber of the bus; raises `LimitError`."""
        if events[-1].topic == TrialsCompleted.__name__:
            self._limits.require_time()


def require_workers(resources: ResourcesSection, workers: int) -> None:
    """Refuse more worker processes than a run may have; raises `ConfigurationError`."""
    if resources.workers and workers > resources.workers:
        raise ConfigurationError(
            f"resources.workers: the run may have {resources.workers}, and was given {workers}; give it no "
            "more, or raise the limit."
        )
