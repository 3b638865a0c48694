import msgspec
import numpy as np
import pytest
from admf.domain.errors import CorruptionError, StoreError
from admf.domain.events import BarsLoaded, PhaseSkipped, WorkflowCompleted
from admf.eventstore import columns
from admf.eventstore.codec import encode
from admf.eventstore.record import Head, Recorded, record, verify


def bars(rows: int = 500, **changed: np.ndarray) -> BarsLoaded:
    prices = np.linspace(1.0, 2.0, rows)
    fields = dict.fromkeys(("open", "high", "low", "close", "volume"), prices)
    return BarsLoaded(**({"time": np.arange(rows)} | fields | changed))


def chain(
    *events, stream: str = "run/phase", run: str = "run", cause: str = "", at: int = 1
) -> list[Recorded]:
    head, recorded = Head(stream), []
    for event in events:
        recorded.append(record(head, encode(event), correlation_id=run, causation_id=cause, recorded_at=at))
        head = recorded[-1].head
    return recorded


def test_rows_are_numbered_through_the_stream():
    first, second, third = chain(PhaseSkipped(phase="a", reason="b"), bars(500), WorkflowCompleted())
    assert (first.address, second.address, third.address) == ("run/phase#1", "run/phase#2", "run/phase#502")
    assert third.head.next_address == "run/phase#503"
    assert Head("run/phase").next_address == "run/phase#1"


def test_a_chain_is_verified_from_its_start_to_its_head(every_event):
    head = Head("run/phase")
    for recorded in chain(*every_event):
        head = verify(head, recorded)
    assert head.version == len(every_event)


def test_the_content_hash_leaves_out_run_cause_and_time(every_event):
    one = chain(*every_event)[-1]
    other = chain(*every_event, stream="another/phase", run="another", cause="another#1", at=2)[-1]
    assert one.content_hash == other.content_hash
    assert one.record_hash != other.record_hash


def test_the_content_hash_leaves_out_compression(monkeypatch):
    one = chain(bars())[-1]
    monkeypatch.setattr(columns, "_LEVEL", 19)
    other = chain(bars())[-1]
    assert one.payload != other.payload
    assert one.content_hash == other.content_hash
    assert one.record_hash != other.record_hash


def test_the_content_hash_changes_with_any_content():
    zeros = np.zeros(500)
    skipped = PhaseSkipped(phase="a", reason="b")
    chains = [
        [bars()],
        [bars(open=zeros)],
        [bars(close=zeros)],
        [bars(499)],
        [bars(time=np.arange(500)[::-1])],
        [bars(0)],
        [bars(), bars(0)],
        [bars(), skipped],
        [skipped, bars()],
        [skipped],
        [PhaseSkipped(phase="ab", reason="")],
    ]
    assert len({chain(*events)[-1].content_hash for events in chains}) == len(chains)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stream", "run/other"),
        ("version", 3),
        ("first", 3),
        ("rows", 501),
        ("topic", "WorkflowCompleted"),
        ("schema_version", 2),
        ("correlation_id", "another"),
        ("causation_id", "another#1"),
        ("recorded_at", 2),
        ("content_hash", bytes(32)),
        ("record_hash", bytes(32)),
        ("payload", encode(bars(time=np.arange(1, 501))).payload),
    ],
)
def test_a_change_of_any_stored_field_is_found(field, value):
    first, second = chain(WorkflowCompleted(), bars())
    assert verify(first.head, second) == second.head
    with pytest.raises(CorruptionError, match=r"#\d+: "):
        verify(first.head, msgspec.structs.replace(second, **{field: value}))


def test_a_missing_event_is_found():
    first, _, third = chain(WorkflowCompleted(), bars(), bars())
    with pytest.raises(CorruptionError, match="event 2 of stream run/phase must come next, with row 2"):
        verify(first.head, third)


def test_an_event_that_cannot_be_read_is_named_by_its_address():
    (recorded,) = chain(WorkflowCompleted())
    newer = msgspec.structs.replace(recorded, schema_version=2)
    with pytest.raises(StoreError, match=r"^run/phase#1: WorkflowCompleted version 2 is not known"):
        _ = newer.event
    broken = msgspec.structs.replace(recorded, payload=b"\xc1")
    with pytest.raises(CorruptionError, match=r"^run/phase#1: WorkflowCompleted version 1 can't be read"):
        _ = broken.event


def test_statistics_are_read_from_a_recorded_event():
    control, numeric = chain(WorkflowCompleted(), bars())
    assert control.statistics == {}
    assert numeric.statistics["close"] == (1.0, 2.0)
    assert numeric.statistics["time"] == (0, 499)
