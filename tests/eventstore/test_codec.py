from typing import get_args

import msgspec
import numpy as np
import pytest
import zstandard
from admf.domain.errors import CorruptionError, StoreError
from admf.domain.events import (
    ControlEvent,
    Event,
    NumericEvent,
    OrdersCanceled,
    PhaseSkipped,
    SignalsEmitted,
    TrialsCompleted,
)
from admf.eventstore import codec, columns
from admf.eventstore.codec import decode, encode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal


def assert_same(found: Event, expected: Event) -> None:
    assert type(found) is type(expected)
    if not isinstance(expected, NumericEvent):
        assert found == expected
        return
    for field in expected.__struct_fields__:
        actual, desired = getattr(found, field), getattr(expected, field)
        if not isinstance(desired, dict):
            actual, desired = {field: actual}, {field: desired}
        assert actual.keys() == desired.keys()
        for name, column in desired.items():
            assert_array_equal(actual[name], column, strict=column.dtype.kind != "U")


def cancellations(rows: int, start: int = 0) -> OrdersCanceled:
    numbers = np.arange(start, start + rows, dtype=np.int32)
    return OrdersCanceled(
        container=numbers,
        order=numbers,
        symbol=np.zeros(rows, np.int16),
        bar=numbers,
        reason=np.ones(rows, np.int8),
    )


def trials(**parameters: np.ndarray) -> TrialsCompleted:
    rows = len(next(iter(parameters.values())))
    return TrialsCompleted(
        container=np.arange(rows, dtype=np.int32),
        fold=np.zeros(rows, np.int16),
        segment=np.zeros(rows, np.int8),
        first_bar=np.zeros(rows, np.int32),
        stop_bar=np.zeros(rows, np.int32),
        parameters=parameters,
        metrics={},
    )


def test_every_type_of_event_is_decoded_as_it_was_encoded(every_event):
    assert {type(event) for event in every_event} == {*get_args(ControlEvent), *get_args(NumericEvent)}
    for event in every_event:
        encoded = encode(event)
        assert_same(decode(encoded.topic, encoded.schema_version, encoded.payload), event)
        assert encoded.rows == (3 if isinstance(event, NumericEvent) else 1)


def test_an_event_without_rows_is_decoded_as_it_was_encoded():
    for event in (cancellations(0), trials(kind=np.array([], dtype=np.str_))):
        encoded = encode(event)
        assert encoded.rows == 0
        assert_same(decode(encoded.topic, 1, encoded.payload), event)


COLUMN = st.sampled_from(["?", "i1", "<i2", "<i4", "<i8", "<f8"]).map(np.dtype)


@st.composite
def trials_completed(draw) -> TrialsCompleted:
    rows = draw(st.integers(0, 40))
    column = COLUMN.flatmap(lambda dtype: arrays(dtype, rows))
    text = st.lists(st.text(max_size=6), min_size=rows, max_size=rows).map(lambda v: np.array(v, np.str_))
    names = st.text(st.characters(codec="utf-8"), max_size=6)
    return TrialsCompleted(
        container=draw(arrays(np.int32, rows)),
        fold=draw(arrays(np.int16, rows)),
        segment=draw(arrays(np.int8, rows)),
        first_bar=draw(arrays(np.int32, rows)),
        stop_bar=draw(arrays(np.int32, rows)),
        parameters=draw(st.dictionaries(names, column | text, max_size=4)),
        metrics=draw(st.dictionaries(names, arrays(np.float64, rows), max_size=4)),
    )


@given(trials_completed())
def test_any_columns_are_decoded_as_they_were_encoded(event):
    encoded = encode(event)
    decoded = decode(encoded.topic, encoded.schema_version, encoded.payload)
    assert_same(decoded, event)
    assert encode(decoded) == encoded
    assert codec.content_digest(encoded.topic, encoded.payload) == encoded.digest


@given(arrays(np.float64, st.integers(0, 40)))
def test_statistics_bound_all_values_that_are_numbers(values):
    encoded = encode(trials(rate=values))
    known = values[~np.isnan(values)]
    expected = (known.min(), known.max()) if len(known) else None
    assert codec.statistics(encoded.topic, encoded.payload).get("parameters.rate") == expected


def test_statistics_leave_out_text_and_truth():
    encoded = encode(trials(kind=np.array(["ema"]), long_only=np.array([True]), fast=np.array([5])))
    found = codec.statistics(encoded.topic, encoded.payload)
    assert found.keys() - {"parameters.fast"} == {"container", "fold", "segment", "first_bar", "stop_bar"}


def test_columns_that_repeat_are_compressed_and_noise_is_stored_as_it_is():
    noise = np.random.default_rng(1).integers(-(2**62), 2**62, 1_000)
    _, small, _ = columns.encode({"fast": np.repeat([5, 10], 500)})
    _, large, _ = columns.encode({"fast": noise})
    assert len(small) < noise.nbytes / 10
    assert noise.nbytes < len(large) < noise.nbytes + 100
    assert_array_equal(columns.decode(large)["fast"], noise)


def test_decoded_columns_are_read_only():
    encoded = encode(cancellations(3))
    decoded = decode(encoded.topic, 1, encoded.payload)
    with pytest.raises(ValueError, match="read-only"):
        decoded.bar[0] = 1


def test_the_order_of_keys_does_not_matter():
    values = np.array([1, 2])
    assert encode(trials(fast=values, slow=values)) == encode(trials(slow=values, fast=values))


def test_equal_text_and_equal_nans_have_equal_digests_however_they_came_about():
    wide = np.array(["ema", "sma", "weighted"])[:2]
    assert encode(trials(kind=wide)).digest == encode(trials(kind=np.array(["ema", "sma"]))).digest
    assert encode(trials(rate=np.array([-np.nan]))).digest == encode(trials(rate=np.array([np.nan]))).digest


def test_a_smaller_type_is_widened_and_a_larger_one_refused():
    rows = {
        "container": np.zeros(1, np.int16),
        "strategy": np.zeros(1, np.int16),
        "bar": np.zeros(1, np.int32),
    }
    event = SignalsEmitted(**rows, symbol=np.zeros(1, np.int16), target=np.ones(1))
    assert decode("SignalsEmitted", 1, encode(event).payload).container.dtype == np.int32
    with pytest.raises(StoreError, match=r"SignalsEmitted\.symbol must be int16, found int64"):
        encode(msgspec.structs.replace(event, symbol=np.zeros(1, np.int64)))


def test_columns_of_different_length_are_refused():
    with pytest.raises(StoreError, match=r"must have equal length, found .*'bar': 2"):
        encode(msgspec.structs.replace(cancellations(3), bar=np.zeros(2, np.int32)))


@pytest.mark.parametrize("column", [np.array([1j]), np.array([object()]), np.ones(1, np.uint8)])
def test_a_type_that_the_log_does_not_know_is_refused(column):
    with pytest.raises(StoreError, match=r"column parameters\.odd must be text or one of"):
        encode(trials(odd=column))


def test_a_matrix_is_refused():
    with pytest.raises(StoreError, match="must have one dimension, found 2"):
        encode(trials(odd=np.ones((1, 1))))


def test_an_old_control_event_is_upcast_step_by_step(monkeypatch):
    old = msgspec.msgpack.encode({"name": "search"})
    monkeypatch.setitem(codec.SCHEMA_VERSIONS, "PhaseSkipped", 3)
    monkeypatch.setitem(codec.UPCASTERS, ("PhaseSkipped", 1), lambda v: {"phase": v["name"]})
    monkeypatch.setitem(codec.UPCASTERS, ("PhaseSkipped", 2), lambda v: v | {"reason": "unknown"})
    assert decode("PhaseSkipped", 1, old) == PhaseSkipped(phase="search", reason="unknown")


def test_old_columns_are_upcast(monkeypatch):
    old = encode(cancellations(2))
    monkeypatch.setitem(codec.SCHEMA_VERSIONS, "OrdersCanceled", 2)
    monkeypatch.setitem(codec.UPCASTERS, ("OrdersCanceled", 1), lambda c: c | {"reason": c["reason"] * 2})
    assert_array_equal(decode("OrdersCanceled", 1, old.payload).reason, [2, 2])
    assert encode(cancellations(2)).schema_version == 2


def test_an_old_version_that_nothing_upcasts_is_refused(monkeypatch):
    monkeypatch.setitem(codec.SCHEMA_VERSIONS, "PhaseSkipped", 2)
    with pytest.raises(StoreError, match="PhaseSkipped version 1 can no longer be read"):
        decode("PhaseSkipped", 1, b"\x80")


@pytest.mark.parametrize(("topic", "version"), [("PhaseSkipped", 2), ("TicksLoaded", 1)])
def test_an_event_of_a_newer_release_is_refused(topic, version):
    with pytest.raises(StoreError, match=rf"{topic} version {version} is not known .* Upgrade admf"):
        decode(topic, version, b"")


@pytest.mark.parametrize("topic", ["PhaseSkipped", "OrdersCanceled"])
@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x80", b"\x92\xff\x90", b"\x92\x01\x90"])
def test_bytes_that_are_no_event_are_corruption(topic, payload):
    with pytest.raises(CorruptionError):
        decode(topic, 1, payload)


@pytest.mark.parametrize("dtype", ["<i4", "|O", ">i4", "<U0", "<U99999999"])
@pytest.mark.parametrize("buffer", [b"abc", b"\x28\xb5\x2f\xfd", zstandard.compress(bytes(10**6))])
def test_a_buffer_that_is_not_its_column_is_corruption(dtype, buffer):
    stored = columns.StoredColumn("bar", dtype, None, None, memoryview(buffer))
    payload = msgspec.msgpack.encode(columns.StoredColumns(10, (stored,)))
    with pytest.raises(CorruptionError, match="column bar"):
        decode("OrdersCanceled", 1, payload)
