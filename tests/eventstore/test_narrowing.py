"""Columns in fewer bytes: nothing is lost, and what is kept follows from the values alone."""

import msgspec
import numpy as np
import pytest
from admf.domain.errors import CorruptionError
from admf.eventstore import columns
from admf.eventstore.narrowing import SAMPLE, narrowed, widened
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

MANY = 3 * SAMPLE
NUMBERS = {
    "<f8": st.one_of(
        st.integers(-300, 300).map(float), st.sampled_from([0.0, -0.0, 0.5, np.nan, np.inf, 2.0**60])
    ),
    "<i8": st.one_of(st.integers(-300, 300), st.sampled_from([-(2**63), 2**63 - 1, 2**32])),
    "<i4": st.one_of(st.integers(-300, 300), st.sampled_from([-(2**31), 2**31 - 1, 70_000])),
    "<i2": st.integers(-(2**15), 2**15 - 1),
    "|i1": st.integers(-128, 127),
}


@st.composite
def repetitive_columns(draw) -> np.ndarray:
    """Columns of few distinct values, so that most of them can be made narrow."""
    dtype = draw(st.sampled_from(sorted(NUMBERS)))
    distinct = draw(arrays(dtype, st.integers(1, 4), elements=NUMBERS[dtype]))
    places = draw(arrays(np.int64, MANY, elements=st.integers(0, distinct.size - 1), fill=st.just(0)))
    return distinct[places]


@given(repetitive_columns())
def test_each_bit_of_a_column_comes_back(values):
    _, payload, digest = columns.encode({"x": values})
    again = columns.decode(payload)["x"]
    assert again.dtype == values.dtype
    assert again.tobytes() == values.tobytes()
    assert not again.flags.writeable
    assert columns.content_digest(payload) == columns.digest_of({"x": values}) == digest


@given(repetitive_columns(), repetitive_columns())
def test_columns_that_differ_have_digests_that_differ(one, other):
    same = one.dtype == other.dtype and one.tobytes() == other.tobytes()
    assert (columns.digest_of({"x": one}) == columns.digest_of({"x": other})) == same


@pytest.mark.parametrize(
    ("values", "width"),
    [
        (np.full(MANY, 7, np.int16), 0),
        (np.full(MANY, 0.95), 0),
        (np.full(MANY, np.nan), 0),
        (np.tile([-1.0, 0.0, 1.0], SAMPLE), 1),
        (np.tile([-100.0, 100.0], MANY // 2), 1),
        (np.arange(1_000, 1_000 + MANY), 1),
        (np.arange(MANY, dtype=np.int32) * 300, 2),
        (np.arange(MANY) * 400_000, 4),
        (np.arange(MANY) * 2**40, None),
        (np.arange(MANY, dtype=np.int8), None),
        (np.arange(MANY) / 8, None),
        (np.tile([0.0, -0.0], MANY // 2), None),
        (np.append(np.zeros(MANY), np.nan), None),
        (np.append(np.zeros(MANY), 0.5), None),
        (np.zeros(SAMPLE - 1), None),
    ],
)
def test_a_value_takes_as_many_bytes_as_the_highest_needs_above_the_lowest(values, width):
    found = narrowed(values)
    assert found.width == width
    if width is None:
        assert found.values is values
    else:
        assert found.values.nbytes == width * values.size
        assert (
            widened(found.values, width, found.low, values.dtype, values.size).tobytes() == values.tobytes()
        )


def test_the_bounds_of_a_narrow_column_are_those_of_its_values():
    event = {
        "fast": np.tile([30, 10, 20], SAMPLE),
        "price": np.full(MANY, np.nan),
        "size": np.full(MANY, 0.5),
    }
    _, payload, _ = columns.encode(event)
    assert columns.bounds(payload) == {"fast": (10, 30), "size": (0.5, 0.5)}


STORED_BEFORE = (
    "92649295a3626172a33c69340001c44028b52ffd609000b50100a206048010a8aaaaaaaaaaaaaaaaaaaaaa2a0431140003186"
    "38c31c618638c31c618638c31c618638c31c618638c31c618638c31c64595a57072696365a33c6638cb3fe0000000000000cb"
    "3fe0000000000000c42128b52ffd602002bd000060000000000000e03f00f87f000300076716006d08e008"
)
"""Two columns as release 0.1.0 of November 2026 stored them, when no column was narrow yet."""


def test_columns_that_were_stored_before_any_was_narrow_are_read_and_verified():
    payload = bytes.fromhex(STORED_BEFORE)
    found = columns.decode(payload)
    assert found["bar"].tolist() == [0, 1] * 50
    assert found["price"].tobytes() == np.tile([0.5, np.nan], 50).tobytes()
    digest = "15ef2622f5dbda80a68203296040be0bb97cb41553f8e3057e59af75f73872f0"
    assert columns.content_digest(payload).hex() == digest


@pytest.mark.parametrize(
    ("dtype", "low", "width"), [("<i4", 0, 3), ("<U1", 0, 1), ("<i4", 0.5, 1), ("<i4", None, 0)]
)
def test_a_width_that_no_column_can_have_is_corruption(dtype, low, width):
    stored = columns.StoredColumn("bar", dtype, low, low, memoryview(b"\0" * 10), width)
    payload = msgspec.msgpack.encode(columns.StoredColumns(10, (stored,)))
    with pytest.raises(CorruptionError, match="column bar"):
        columns.decode(payload)
