"""What a run reports while it is under way."""

from collections.abc import Sequence
from typing import Protocol

from ...domain.events import TrialsCompleted
from ...eventstore.codec import EncodedEvent


class Progress(Protocol):
    """Follows a run, from its start to its end."""

    def phase_started(self, phase: str, number: int, phases: int) -> None:
        """Take note that a phase began; `number` counts from 1."""

    def trials_planned(self, count: int) -> None:
        """Take note that the phase will simulate so many more containers."""

    def trials_completed(self, count: int) -> None:
        """Take note that so many more were simulated, and that their events are durable."""

    def phase_completed(self, phase: str, *, cached: bool = False) -> None:
        """Take note that a phase ended well, or is taken over as another run had completed it."""


class Silence:
    """Reports nothing."""

    def phase_started(self, phase: str, number: int, phases: int) -> None:
        """Do nothing."""

    def trials_planned(self, count: int) -> None:
        """Do nothing."""

    def trials_completed(self, count: int) -> None:
        """Do nothing."""

    def phase_completed(self, phase: str, *, cached: bool = False) -> None:
        """Do nothing."""


class TrialCounter:
    """Tells a progress, as a subscriber of a phase's bus, about trials that were completed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def receive(self, events: Sequence[EncodedEvent]) -> None:
        """Count the trials of a group."""
        count = sum(event.rows for event in events if event.topic == TrialsCompleted.__name__)
        if count:
            self._progress.trials_completed(count)
