"""Verifying a store: hash chains, contiguity, references between streams, and what the read models say.

Every check reads the log as it is stored and trusts nothing that was computed when it was written.
"""

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from ..domain.errors import AdmfError, CorruptionError
from ..domain.events import (
    Event,
    Int64,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    PhaseCompleted,
    PhaseOutputEvent,
    PhaseReused,
    PhaseStarted,
    SignalsEmitted,
    TrialsCompleted,
)
from ..eventstore.record import Head, Recorded, verify
from ..eventstore.store import EventStore


class Violation(msgspec.Struct, frozen=True):
    """Something in the store that is not as it was written.

    Attributes
    ----------
    address
        Where it was found: ``stream#n``, or the name of a read model.
    rule
        The rule that is broken, in a word or two.
    message
        What was expected and what was found.
    """

    address: str
    rule: str
    message: str


class _StreamAudit:
    """Checks the events of one stream in order, and remembers what other streams refer to."""

    def __init__(self, stream: str) -> None:
        self.head = Head(stream)
        self.heads: dict[int, Head] = {}
        self.started: PhaseStarted | None = None
        self.completed: list[tuple[str, PhaseCompleted | PhaseReused]] = []
        self.has_output = False
        self._orders: Int64 = np.empty(0, np.int64)

    def take(self, recorded: Recorded) -> Iterator[Violation]:
        """Check the next event of the stream."""
        try:
            verify(self.head, recorded)
        except CorruptionError as error:
            rule = "contiguity" if "must come next" in str(error) else "hash chain"
            yield Violation(recorded.address, rule, str(error))
        self.head = recorded.head
        self.heads[recorded.version] = self.head
        try:
            event = recorded.event
        except AdmfError as error:
            yield Violation(recorded.address, "payload", str(error))
            return
        yield from self._note(recorded, event)

    def _note(self, recorded: Recorded, event: Event) -> Iterator[Violation]:
        match event:
            case PhaseStarted():
                self.started = event
            case PhaseCompleted() | PhaseReused():
                self.completed.append((recorded.address, event))
            case PhaseOutputEvent():
                self.has_output = True
            case OrdersPlaced():
                self._orders = np.concatenate((self._orders, _keys(event)))
            case OrdersFilled() | OrdersDenied() | OrdersCanceled():
                missing = ~np.isin(_keys(event), self._orders)
                if self._logs_orders and missing.any():
                    row = int(np.argmax(missing))
                    yield Violation(
                        f"{recorded.stream}#{recorded.first + row}",
                        "reference",
                        f"{recorded.topic} of order {event.order[row]} of container {event.container[row]}, "
                        "which was never placed.",
                    )
            case _:
                pass
        if isinstance(event, SignalsEmitted | OrdersPlaced | OrdersFilled | OrdersDenied | OrdersCanceled):
            yield from self._bars_exist(recorded, event.bar, event.symbol)
        if isinstance(event, TrialsCompleted):
            yield from self._bars_exist(recorded, event.stop_bar - 1, np.zeros(event.fold.size, np.int16))

    @property
    def _logs_orders(self) -> bool:
        return self.started is not None and '"log":"full"' in self.started.configuration

    def _bars_exist(self, recorded: Recorded, bar: np.ndarray, symbol: np.ndarray) -> Iterator[Violation]:
        rows = np.array([feed.rows for feed in self.started.feeds] if self.started else [0])
        wrong = (bar < 0) | (symbol < 0) | (symbol >= rows.size)
        wrong |= bar >= rows[np.clip(symbol, 0, rows.size - 1)]
        if wrong.any():
            row = int(np.argmax(wrong))
            yield Violation(
                f"{recorded.stream}#{recorded.first + row}",
                "reference",
                f"{recorded.topic} names bar {bar[row]} of symbol {symbol[row]}, which the phase never read.",
            )


def verify_log(store: EventStore, streams: Iterable[str] = ()) -> Iterator[Violation]:
    """Check the whole log, or only some streams and what they refer to.

    Yields
    ------
    Violation
        In the order of the log; references between streams come last.
    """
    audits: dict[str, _StreamAudit] = {}
    causes: list[tuple[str, str]] = []
    chosen = list(streams)
    events = store.read_all() if not chosen else (event for name in chosen for event in store.read(name))
    position = 0
    for recorded in events:
        if recorded.position is not None and recorded.position <= position:
            yield Violation(
                recorded.address, "order", f"position {recorded.position} follows position {position}."
            )
        position = recorded.position or position
        audit = audits.setdefault(recorded.stream, _StreamAudit(recorded.stream))
        yield from audit.take(recorded)
        if recorded.causation_id and (not causes or causes[-1][1] != recorded.causation_id):
            causes.append((recorded.address, recorded.causation_id))
    yield from _references(store, audits, causes)


def _references(
    store: EventStore, audits: dict[str, _StreamAudit], causes: list[tuple[str, str]]
) -> Iterator[Violation]:
    def head_of(stream: str) -> Head:
        return audits[stream].head if stream in audits else store.head(stream)

    for address, cause in causes:
        stream, _, number = cause.rpartition("#")
        if not number.isdigit() or not 1 <= int(number) <= head_of(stream).rows:
            yield Violation(address, "reference", f"it was caused by {cause}, which is not in the log.")
    for audit in audits.values():
        for feed in audit.started.feeds if audit.started else ():
            if head_of(feed.stream).rows != feed.rows:
                yield Violation(
                    f"{audit.head.stream}#1",
                    "reference",
                    f"it reads {feed.rows} bars of {feed.stream}, which has {head_of(feed.stream).rows}.",
                )
        for address, completed in audit.completed:
            phase = audits.get(completed.stream)
            at_end = phase.heads.get(completed.events) if phase else store.head(completed.stream)
            found = (at_end.rows, at_end.content_hash.hex()) if at_end else None
            if found != (completed.rows, completed.head_hash):
                yield Violation(
                    address,
                    "reference",
                    f"the phase {completed.phase} must end with event {completed.events}, row "
                    f"{completed.rows} and hash {completed.head_hash}; found {found or 'no such event'}.",
                )
            elif phase and not phase.has_output:
                yield Violation(address, "reference", f"{completed.stream} has no PhaseOutputEvent.")


def _keys(event: OrdersPlaced | OrdersFilled | OrdersDenied | OrdersCanceled) -> Int64:
    return event.container.astype(np.int64) << 32 | event.order
