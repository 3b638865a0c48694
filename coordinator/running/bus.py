"""The bus of one phase: whatever a phase does is published here, and nothing else flows out of it."""

from collections.abc import Sequence
from typing import Protocol

from ...domain.errors import AdmfError
from ...eventstore.codec import EncodedEvent


class Subscriber(Protocol):
    """Receives each group of events of a phase, in order."""

    def receive(self, events: Sequence[EncodedEvent]) -> None:
        """Take one group; what it raises ends the phase."""


class PhaseBus:
    """Hands each published group of events to its subscribers, in the order of their subscription.

    It lives as long as its phase: use it as a context manager.
    """

    def __init__(self, *subscribers: Subscriber) -> None:
        self._subscribers = subscribers
        self._open = True

    def publish(self, events: Sequence[EncodedEvent]) -> None:
        """Hand a group of events to all subscribers.

        Raises
        ------
        AdmfError
            The bus was closed: its phase is over.
        """
        if not self._open:
            raise AdmfError("a phase published events after its end; its bus is closed.")
        for subscriber in self._subscribers:
            subscriber.receive(events)

    def close(self) -> None:
        """Let go of the subscribers; nothing can be published any more."""
        self._open = False
        self._subscribers = ()

    def __enter__(self) -> "PhaseBus":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
