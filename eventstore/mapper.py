from typing import Annotated

import msgspec
from eventsourcing.persistence import Mapper, Notification, StoredEvent

from ..domain.errors import CorruptionError
from .record import Recorded

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """The fields of a `Recorded` for which the library's stored event has no column."""

    first: Count
    rows: Count
    schema_version: Count
    correlation_id: str
    causation_id: str
    recorded_at: int
    content_hash: bytes
    record_hash: bytes
    payload: bytes


_decoder = msgspec.msgpack.Decoder(Envelope)


class RecordedMapper(Mapper[str]):
    """Turns a `Recorded` into the library's stored event and back."""

    # The library's own mapper stores the __dict__ of a domain event, which a struct lacks.
    def to_stored_event(self, domain_event: Recorded) -> StoredEvent:  # type: ignore[override]
        """Turn a `Recorded` into a stored event."""
        envelope = Envelope(
            domain_event.first,
            domain_event.rows,
            domain_event.schema_version,
            domain_event.correlation_id,
            domain_event.causation_id,
            domain_event.recorded_at,
            domain_event.content_hash,
            domain_event.record_hash,
            domain_event.payload,
        )
        return StoredEvent(
            originator_id=domain_event.stream,
            originator_version=domain_event.version,
            topic=domain_event.topic,
            state=msgspec.msgpack.encode(envelope),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:  # type: ignore[override]
        """Turn a stored event back; its position is known if it is a notification.

        Raises
        ------
        CorruptionError
            Its state is not what `to_stored_event` made.
        """
        try:
            envelope = _decoder.decode(stored_event.state)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
            raise CorruptionError(
                f"event {stored_event.originator_version} of stream {stored_event.originator_id} can't be "
                f"read: {error}. Restore the store from a backup."
            ) from error
        return Recorded(
            stream=str(stored_event.originator_id),
            version=stored_event.originator_version,
            position=stored_event.id if isinstance(stored_event, Notification) else None,
            topic=stored_event.topic,
            **msgspec.structs.asdict(envelope),
        )
