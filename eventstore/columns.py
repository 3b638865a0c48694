"""Columns of numeric events as bytes: little-endian buffers, narrow where that loses nothing, compressed."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from ..domain.errors import CorruptionError, StoreError
from ..domain.events import Column
from .hashing import digest
from .narrowing import WIDTHS, Narrow, narrowed, widened

_DTYPES = {np.dtype(code).str for code in ("?", "i1", "i2", "<i4", "<i8", "<f8")}
_TEXT = re.compile(r"<U[1-9]\d{0,5}")
_LEVEL = -1
"""Level 1 takes up to a third more time, to make the log of a sweep about a tenth smaller."""

Bounds = tuple[int | float, int | float]


class StoredColumn(msgspec.Struct, frozen=True, array_like=True):
    """One column, with its smallest and largest value.

    Attributes
    ----------
    buffer
        The values, as `narrowed` keeps them; a shorter one is a zstd frame.
    width
        That of a narrow column, whose values are kept less ``low``.
    """

    name: str
    dtype: str
    low: int | float | None
    high: int | float | None
    buffer: memoryview
    width: int | None = None


class StoredColumns(msgspec.Struct, frozen=True, array_like=True):
    """The payload of a numeric event."""

    rows: int
    columns: tuple[StoredColumn, ...]


_decoder = msgspec.msgpack.Decoder(StoredColumns)


def encode(columns: Mapping[str, Column]) -> tuple[int, bytes, bytes]:
    """Turn columns into bytes.

    Parameters
    ----------
    columns
        Arrays of one dimension and of equal length. Text is stored as wide as its longest value, and every
        NaN as the same NaN, so that equal columns have equal bytes.

    Returns
    -------
    tuple[int, bytes, bytes]
        The number of rows, the payload, and the digest of what the columns say, compression left aside.

    Raises
    ------
    StoreError
        Columns differ in length, or one has a type that the log does not know.
    """
    rows, arrays = _canonical_columns(columns)
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    kept = {name: narrowed(values) for name, values in arrays.items()}
    stored = []
    for name, narrow in kept.items():
        raw = _bytes(narrow.values)
        compressed = compressor.compress(raw) if raw.nbytes else raw
        buffer = memoryview(compressed) if len(compressed) < raw.nbytes else raw
        low, high = _bounds(narrow)
        stored.append(StoredColumn(name, arrays[name].dtype.str, low, high, buffer, narrow.width))
    return rows, msgspec.msgpack.encode(StoredColumns(rows, tuple(stored))), _digest(rows, arrays, kept)


def digest_of(columns: Mapping[str, Column]) -> bytes:
    """Digest of what columns say; the third value that `encode` would return, which takes longer."""
    rows, arrays = _canonical_columns(columns)
    return _digest(rows, arrays, {name: narrowed(values) for name, values in arrays.items()})


def decode(payload: bytes) -> dict[str, Column]:
    """Turn bytes back into read-only arrays.

    Raises
    ------
    CorruptionError
        The bytes are not those of columns.
    """
    stored, decompressor = _read(payload), zstandard.ZstdDecompressor()
    return {column.name: _array(column, stored.rows, decompressor) for column in stored.columns}


def content_digest(payload: bytes) -> bytes:
    """Digest of what stored columns say; equals the third value that `encode` returned.

    Raises
    ------
    CorruptionError
        The bytes are not those of columns.
    """
    stored, decompressor = _read(payload), zstandard.ZstdDecompressor()
    parts: list[bytes | memoryview] = [stored.rows.to_bytes(8, "little")]
    for column in stored.columns:
        raw = _raw(column, stored.rows, decompressor)
        parts += _said(column.name, np.dtype(column.dtype), column.width, column.low, raw)
    return digest(*parts)


def bounds(payload: bytes) -> dict[str, Bounds]:
    """Smallest and largest value of each column, without decompressing any.

    A text or boolean column, and a column without rows or of nothing but NaN, has none.

    Raises
    ------
    CorruptionError
        The bytes are not those of columns.
    """
    return {
        column.name: (column.low, column.high)
        for column in _read(payload).columns
        if column.low is not None and column.high is not None
    }


def _canonical_columns(columns: Mapping[str, Column]) -> tuple[int, dict[str, NDArray[Any]]]:
    arrays = {name: _canonical(name, values) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise StoreError(
            f"columns of one event must have equal length, found {lengths}. Pad or split the event."
        )
    return next(iter(lengths.values())), arrays


def _bytes(values: NDArray[Any]) -> memoryview:
    return values.view(np.uint8).data


def _digest(rows: int, arrays: Mapping[str, NDArray[Any]], kept: Mapping[str, Narrow]) -> bytes:
    parts: list[bytes | memoryview] = [rows.to_bytes(8, "little")]
    for name, (values, width, low, _) in kept.items():
        parts += _said(name, arrays[name].dtype, width, low, _bytes(values))
    return digest(*parts)


def _said(
    name: str, dtype: np.dtype[Any], width: int | None, low: int | float | None, raw: bytes | memoryview
) -> list[bytes | memoryview]:
    """Return what a column says, in parts; the lowest value counts where the others are kept less it."""
    parts = [name.encode(), dtype.str.encode(), raw]
    if width is not None:
        parts.append(bytes([width]) + np.array(np.nan if low is None else low, dtype).tobytes())
    return parts


def _canonical(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if values.ndim != 1:
        raise StoreError(f"column {name} must have one dimension, found {values.ndim}.")
    if values.dtype.kind == "U":
        width = int(np.strings.str_len(values).max(initial=1))
        return np.ascontiguousarray(values, dtype=f"<U{width}")
    array = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    if array.dtype.str not in _DTYPES:
        known = ", ".join(sorted(_DTYPES))
        raise StoreError(f"column {name} must be text or one of {known}, found {array.dtype.str}.")
    if array.dtype.kind == "f" and array.size and np.isnan(array.min()):
        array = np.where(np.isnan(array), np.nan, array)
    return array


def _bounds(narrow: Narrow) -> tuple[int | float | None, int | float | None]:
    values = narrow.values
    found = narrow.width is not None or narrow.low is not None
    if found or values.dtype.kind not in "if" or not len(values):
        return narrow.low, narrow.high
    low, high = np.fmin.reduce(values).item(), np.fmax.reduce(values).item()
    return (None, None) if low != low else (low, high)


def _read(payload: bytes) -> StoredColumns:
    try:
        stored = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptionError(
            f"a payload must hold columns: {error}. Restore the store from a backup."
        ) from error
    if stored.rows < 0:
        raise CorruptionError(f"a payload must hold 0 rows or more, found {stored.rows}.")
    return stored


def _raw(column: StoredColumn, rows: int, decompressor: zstandard.ZstdDecompressor) -> bytes:
    if column.dtype not in _DTYPES and not _TEXT.fullmatch(column.dtype):
        raise CorruptionError(f"column {column.name} has the unknown type {column.dtype!r}.")
    dtype = np.dtype(column.dtype)
    if column.width is not None and (column.width not in WIDTHS or dtype.kind not in "if"):
        raise CorruptionError(f"column {column.name} has the unknown width {column.width}.")
    if dtype.kind == "i" and column.width is not None and not isinstance(column.low, int):
        raise CorruptionError(f"column {column.name} must have a lowest integer, found {column.low}.")
    size = rows * (dtype.itemsize if column.width is None else column.width)
    # bytes() also aligns the buffer, which a view into the payload would not be.
    buffer = bytes(column.buffer)
    if len(buffer) == size:
        return buffer
    try:
        # The frame's own claim is checked first: the decompressor would allocate whatever it says.
        if zstandard.frame_content_size(buffer) != size:
            raise CorruptionError(f"column {column.name} must decompress to {size} bytes, and would not.")
        return decompressor.decompress(buffer, max_output_size=size)
    except zstandard.ZstdError as error:
        raise CorruptionError(f"column {column.name} can't be decompressed: {error}.") from error


def _array(column: StoredColumn, rows: int, decompressor: zstandard.ZstdDecompressor) -> Column:
    raw, dtype = _raw(column, rows, decompressor), np.dtype(column.dtype)
    if column.width is None:
        return np.frombuffer(raw, dtype)
    kept = np.frombuffer(raw, f"<u{column.width}") if column.width else np.empty(0, np.uint8)
    values = widened(kept, column.width, column.low, dtype, rows)
    values.flags.writeable = False
    return values
