from collections.abc import Callable, Sequence
from uuid import UUID

from eventsourcing.persistence import IntegrityError, StoredEvent


def check_contiguity(
    stored_events: Sequence[StoredEvent], last_version: Callable[[UUID | str], int | None]
) -> None:
    """Require that each stream goes on with the version after its last one.

    Parameters
    ----------
    stored_events
        The events about to be inserted.
    last_version
        Gives the last version of a stream, or None if there is no such stream. A new one starts at 1, or at
        0 as some sequences of the library do.

    Raises
    ------
    IntegrityError
        A version is missing or taken.
    """
    last: dict[UUID | str, int | None] = {}
    for event in stored_events:
        stream, version = event.originator_id, event.originator_version
        previous = last[stream] if stream in last else last_version(stream)
        expected = (0, 1) if previous is None else (previous + 1,)
        if version not in expected:
            raise IntegrityError(f"stream {stream} must go on with version {expected[-1]}, found {version}")
        last[stream] = version
