from collections.abc import Sequence
from uuid import UUID

from eventsourcing import popo
from eventsourcing.persistence import StoredEvent

from .contiguity import check_contiguity
from .subscription import PollingSubscription


class ApplicationRecorder(popo.POPOApplicationRecorder):
    """Keeps contiguous streams in memory; they end with the process."""

    def _assert_uniqueness(self, stored_events: Sequence[StoredEvent], **kwargs: object) -> None:
        super()._assert_uniqueness(stored_events, **kwargs)
        check_contiguity(stored_events, self.last_version)

    def last_version(self, stream: UUID | str) -> int | None:
        """Version of a stream's last event; None if there is no such stream."""
        return next(reversed(self._stored_events_index.get(str(stream), {})), None)

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
        topics: Sequence[str] = (),
    ) -> Sequence[StoredEvent]:
        """Select events of one stream, of ``topics`` only if there are any."""
        if not topics:
            return super().select_events(originator_id, gt=gt, lte=lte, desc=desc, limit=limit)
        events = super().select_events(originator_id, gt=gt, lte=lte, desc=desc)
        return [event for event in events if event.topic in topics][:limit]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> PollingSubscription:
        """Follow the log from the position after ``gt``."""
        return PollingSubscription(self, gt, topics)


class ProcessRecorder(ApplicationRecorder, popo.POPOProcessRecorder):
    """Records events and tracking together."""


class Factory(popo.POPOFactory):
    """Makes recorders that keep everything in memory."""

    def application_recorder(self) -> ApplicationRecorder:
        """Make an empty recorder."""
        return ApplicationRecorder()

    def process_recorder(self) -> ProcessRecorder:
        """Make an empty recorder."""
        return ProcessRecorder()
