from collections import deque
from collections.abc import Sequence
from threading import Event as Signal

from eventsourcing.persistence import ApplicationRecorder, Notification, Subscription

PAGE = 16
"""Events read at a time: one may hold megabytes."""

INTERVAL = 0.05
"""Seconds between two looks for new events."""


class PollingSubscription(Subscription[ApplicationRecorder]):
    """Yields stored events in order of position, then waits for more until it is stopped.

    It asks the database, so that it also sees what other processes append; it needs no thread, and holds one
    page.
    """

    def __init__(
        self, recorder: ApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._position = gt or 0
        self._page: deque[Notification] = deque()
        self._stopped = Signal()

    def stop(self) -> None:
        """End the iteration; may be called from any thread."""
        super().stop()
        self._stopped.set()

    def __next__(self) -> Notification:
        while not self._stopped.is_set():
            if self._page or self._advance():
                return self._page.popleft()
            self._stopped.wait(INTERVAL)
        raise StopIteration

    def _advance(self) -> bool:
        """Read the next page; False at the end of the log."""
        newest = self._recorder.max_notification_id() or 0
        while self._position < newest and not self._page:
            page = self._recorder.select_notifications(
                self._position, PAGE, stop=newest, topics=self._topics, inclusive_of_start=False
            )
            self._page.extend(page)
            self._position = page[-1].id if len(page) == PAGE else newest
        return bool(self._page)
