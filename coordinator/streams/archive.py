"""A run in one file, to be carried to another store.

The file begins with a line that names the format. After it there is one zstd frame, in which each part is
preceded by its length in four bytes, little-endian: first a `Manifest`, then the events of its streams, one
stream after the other, as msgpack. Nothing in it names a file, and nothing in it is executed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
import zstandard

from ...domain.errors import ConflictError, CorruptionError, DataError
from ...eventstore.record import Head, Recorded, verify
from ...eventstore.store import EventStore
from .run_streams import run_streams

Part = TypeVar("Part")

FORMAT = b"ADMF archive 1\n"
LARGEST = 1 << 30
"""Bytes of the largest part; a store in SQLite can't hold a larger event."""
BATCH = 32 << 20
"""Bytes of events that are appended in one transaction."""


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds.

    Attributes
    ----------
    run
        The run that it was made of.
    streams
        Where each of its streams ends, in the order in which they follow.
    """

    run: str
    streams: tuple[Head, ...]


class Import(msgspec.Struct, frozen=True):
    """What came of importing an archive.

    Attributes
    ----------
    run
        The run in it.
    streams
        The number of its streams.
    events, rows
        The number of stored and of logical events that were appended: those that the store did not hold.
    """

    run: str
    streams: int
    events: int
    rows: int


_decoder = msgspec.msgpack.Decoder(Recorded)
_manifest_decoder = msgspec.msgpack.Decoder(Manifest)


def write_archive(store: EventStore, run: str, file: BinaryIO) -> Manifest:
    """Write a run, as far as it has come, with all that it refers to.

    Raises
    ------
    NotFoundError
        There is no such run.
    """
    manifest = Manifest(run, run_streams(store, run))
    file.write(FORMAT)
    with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as compressed:
        for part in _parts(store, manifest):
            compressed.write(len(part).to_bytes(4, "little"))
            compressed.write(part)
    return manifest


def import_archive(store: EventStore, path: Path) -> Import:
    """Append what an archive holds to a store, as it was recorded: all hashes stay the same.

    The whole archive is checked before anything is appended. A stream that the store holds already is left
    as it is. The stream of the run itself comes last, so that the run appears once all is there; if the
    import is interrupted, importing the archive again goes on where it was.

    Raises
    ------
    DataError
        The file can't be read, or is not an archive.
    CorruptionError
        The archive is not as it was written. Nothing was appended.
    ConflictError
        The store holds another stream of the same name. Nothing was appended.
    """
    manifest = _manifest(path)
    held = {head.stream: store.head(head.stream) for head in manifest.streams}
    for head in manifest.streams:
        _require_same_beginning(store, head, held[head.stream])
    for end, events in _streams(path):
        _check(path, end, events, held[end.stream])
    appended = [_append(store, held[end.stream], events) for end, events in _streams(path)]
    events, rows = (sum(counts) for counts in zip(*appended, strict=True))
    return Import(manifest.run, len(manifest.streams), events, rows)


def _parts(store: EventStore, manifest: Manifest) -> Iterator[bytes]:
    yield msgspec.msgpack.encode(manifest)
    for head in manifest.streams:
        for recorded in store.read(head.stream):
            if recorded.version > head.version:
                break
            yield msgspec.msgpack.encode(recorded)


def _require_same_beginning(store: EventStore, end: Head, held: Head) -> None:
    """Require that a stream which the store holds further than the archive has the archive's end in it."""
    if held.version >= end.version and not _same(_head_at(store, held, end.version), end):
        raise _conflict(end.stream)


def _head_at(store: EventStore, held: Head, version: int) -> Head:
    if held.version == version:
        return held
    return next(store.read(held.stream, after=version - 1)).head


def _same(one: Head, other: Head) -> bool:
    # Bars are the same whoever loaded them, and whenever: their stream is named after what it says.
    bars = one.stream.startswith("bars-") and one.content_hash == other.content_hash
    return bars or one.record_hash == other.record_hash


def _conflict(stream: str) -> ConflictError:
    return ConflictError(
        f"the store must hold the stream {stream} as the archive does, or not at all, and holds another one. "
        "Nothing was imported: import the archive into another store."
    )


def _check(path: Path, end: Head, events: Iterator[Recorded], held: Head) -> None:
    """Check the hash chains of one stream, and that what the store holds of it is its beginning."""
    head = Head(end.stream)
    for recorded in events:
        try:
            head = verify(head, recorded)
        except CorruptionError as error:
            raise CorruptionError(f"{path}: the archive is not as it was written: {error}") from error
        if head.version == held.version and not _same(head, held):
            raise _conflict(end.stream)
    if head != end:
        raise CorruptionError(
            f"{path}: the stream {end.stream} must end with event {end.version} "
            f"({end.record_hash.hex()[:12]}), found event {head.version} ({head.record_hash.hex()[:12]}). "
            "Get the archive again."
        )


def _append(store: EventStore, held: Head, events: Iterator[Recorded]) -> tuple[int, int]:
    """Append those events of one stream that are not held yet, and count them and their rows."""
    end, batch, size = held, list[Recorded](), 0
    for recorded in events:
        if recorded.version <= held.version:
            continue
        batch.append(recorded)
        size += len(recorded.payload)
        if size >= BATCH:
            end, batch, size = store.restore(end, batch), [], 0
    end = store.restore(end, batch) if batch else end
    return end.version - held.version, end.rows - held.rows


def _manifest(path: Path) -> Manifest:
    with _open(path) as file:
        return _read_manifest(path, _Parts(path, file))


def _streams(path: Path) -> Iterator[tuple[Head, Iterator[Recorded]]]:
    """Yield each stream's end and its events, which must be taken before the next stream."""
    with _open(path) as file:
        parts = _Parts(path, file)
        for end in _read_manifest(path, parts).streams:
            yield end, (parts.decode(_decoder) for _ in range(end.version))
        parts.require_end()


def _open(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: an archive must be a file that can be read: {error.strerror}.") from error
    if file.read(len(FORMAT)) != FORMAT:
        file.close()
        raise DataError(
            f"{path}: an archive must begin with {FORMAT.decode().strip()!r}; this is another file."
        )
    return file


def _read_manifest(path: Path, parts: "_Parts") -> Manifest:
    manifest = parts.decode(_manifest_decoder)
    names = [head.stream for head in manifest.streams]
    if not names or names[-1] != manifest.run or len(set(names)) < len(names):
        raise CorruptionError(f"{path}: an archive must name each stream once, and its run last.")
    return manifest


class _Parts:
    """Reads the parts of an archive one by one."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._reader = zstandard.ZstdDecompressor().stream_reader(file)

    def decode(self, decoder: "msgspec.msgpack.Decoder[Part]") -> Part:
        """Read the next part."""
        size = int.from_bytes(self._read(4), "little")
        if size > LARGEST:
            raise self._corrupt(f"a part of {size:,} bytes")
        try:
            return decoder.decode(self._read(size))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._corrupt(str(error)) from error

    def require_end(self) -> None:
        """Require that nothing follows."""
        if self._read_up_to(1):
            raise self._corrupt("more than its streams")

    def _read(self, size: int) -> bytes:
        read = self._read_up_to(size)
        if len(read) < size:
            raise self._corrupt("its end too early")
        return read

    def _read_up_to(self, size: int) -> bytes:
        try:
            return self._reader.read(size)
        except zstandard.ZstdError as error:
            raise self._corrupt(str(error)) from error

    def _corrupt(self, found: str) -> CorruptionError:
        return CorruptionError(
            f"{self._path}: the archive is not as it was written: found {found}. Get it again."
        )
