"""The phases that a store holds completed, by what they follow from: none is simulated twice without need."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from ...domain.errors import ConflictError
from ...domain.events import PhaseCompleted
from ...domain.topology import Topology
from ...eventstore.codec import encode
from ...eventstore.hashing import digest
from ...eventstore.record import Head
from ...eventstore.store import EventStore
from ..phases import PHASES
from ..simulation.components import source_hash
from ..streams.trace_query import TraceQuery
from ..workflows.phase_graph import Node
from .phase_execution import PreparedPhase

PACKAGE = Path(__file__).parents[2]
SOURCES = ("domain", "eventstore", "coordinator")
"""Rooms of the package whose source decides what a phase leaves in the log; a version does not tell."""


class PhaseCache(msgspec.Struct, frozen=True):
    """Notes the streams of completed phases in an event store, and finds them.

    The stream ``phase-<key>`` holds a `PhaseCompleted` for each stream that was noted for a key: one, unless
    that one is not whole any more.
    """

    store: EventStore

    def key(self, phase: PreparedPhase, node: Node, run: str) -> str:
        """Return what identifies everything that a phase of a run follows from, in a loop all its turns.

        That is the event by which it starts, which holds its configuration, data, code and resolved values;
        the sources behind that code; and the ends of those streams that it reads more than values from.
        """
        kind, trace = PHASES.get(phase.section.type), TraceQuery(self.store)
        read = phase.section.depends_on if kind.follows or kind.analyzes else ()
        repeat = node.course.repeat
        if repeat:
            read = (*read, *node.reads)
        parts = [
            encode(phase.started).digest,
            repeat.model_dump_json().encode() if repeat else b"",
            _package_digest(),
            *_neighbours(phase.topology),
            *(self.store.head(trace.stream(run, name)).content_hash for name in read),
        ]
        return digest(*parts).hex()[:32]

    def find(self, key: str) -> Head | None:
        """Return where the stream of a completed phase with this key ends, if there is one that is whole."""
        for recorded in self.store.read(f"phase-{key}"):
            event = recorded.event
            if isinstance(event, PhaseCompleted):
                head = self.store.head(event.stream)
                if (head.version, head.content_hash.hex()) == (event.events, event.head_hash):
                    return head
        return None

    def note(self, key: str, completed: PhaseCompleted, cause: str) -> None:
        """Note the stream of a phase that was completed, unless another one is."""
        if self.find(key) is None:
            end = self.store.head(f"phase-{key}")
            # Another process may just have completed the same.
            with suppress(ConflictError):
                self.store.append(end, [completed], correlation_id=end.stream, causation_id=cause)


@cache
def _package_digest() -> bytes:
    files = (file for room in SOURCES for file in sorted((PACKAGE / room).rglob("*.py")))
    return digest(*(file.read_bytes() for file in files))


def _neighbours(topology: Topology) -> Iterator[bytes]:
    """Hash what a user's strategies may have imported: modules in or below the folders of their files."""
    functions = (slot.strategy.function for slot in topology.slots if source_hash(slot.strategy))
    modules = [sys.modules.get(getattr(each, "py_func", each).__module__) for each in functions]
    folders = {Path(file).parent for module in modules if (file := getattr(module, "__file__", None))}
    if not folders:
        return
    for name, module in sorted(sys.modules.items()):
        file, spec = Path(getattr(module, "__file__", None) or ""), getattr(module, "__spec__", None)
        folder = next((folder for folder in folders if file.is_relative_to(folder)), None)
        if folder is None or not file.is_file() or "site-packages" in file.relative_to(folder).parts:
            continue
        if name not in _loaded or _loaded[name][0] is not spec:
            _loaded[name] = spec, file.read_bytes()
        yield _loaded[name][1]


_loaded: dict[str, tuple[object, bytes]] = {}
"""Sources of modules as they were when they were first met: a file that is edited later is not what runs."""
