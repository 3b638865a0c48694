"""A worker process: it simulates shards that it reads from its standard input, until that is closed.

Requests and answers are MessagePack behind their length; nothing is pickled, and the main module of whoever
started the worker is not imported.
"""

import os
import signal
import sys
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from ...domain.errors import AdmfError, StrategyError
from ...domain.events import Int32, TrialsCompleted
from ...domain.topology import Containers, Legs
from ...eventstore.codec import EncodedEvent, decode, encode
from .memory import keep_freed_memory
from .shards import PublishedSimulation


class Request(msgspec.Struct, frozen=True, tag="request"):
    """A shard to simulate: its containers, and their legs, are encoded like trials."""

    section: str
    folder: str
    published: str
    containers: bytes
    legs: bytes


class Done(msgspec.Struct, frozen=True, tag="done"):
    """What happened in a shard."""

    events: list[EncodedEvent]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Why a shard could not be simulated; `strategy` says whether a strategy is to blame."""

    message: str
    strategy: bool


def request_for(simulation: PublishedSimulation, shard: Containers) -> Request:
    """Describe a shard so that another process can simulate it."""
    ids = np.arange(shard.first_id, shard.first_id + len(shard), dtype=np.int32)
    legs = b"" if shard.legs is None else _encoded(shard.legs, shard.legs.owner)
    return Request(
        simulation.section, str(simulation.folder), str(simulation.published), _encoded(shard, ids), legs
    )


def send(pipe: IO[bytes], message: Request | Done | Failed) -> None:
    """Write a message."""
    data = msgspec.msgpack.encode(message)
    pipe.write(len(data).to_bytes(8, "little") + data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Request | Done | Failed | None:
    """Read a message, or None where there will be no more."""
    prefix = pipe.read(8)
    size = int.from_bytes(prefix, "little")
    data = pipe.read(size)
    if len(prefix) < 8 or len(data) < size:
        return None
    return msgspec.msgpack.decode(data, type=Request | Done | Failed)


def answer(request: Request) -> Done | Failed:
    """Simulate the shard of a request."""
    simulation = PublishedSimulation(request.section, Path(request.folder), Path(request.published))
    rows = _decoded(request.containers)
    shard = Containers(
        first_id=int(rows.owner[0]),
        fold=rows.fold,
        segment=rows.segment,
        first_bar=rows.first_bar,
        stop_bar=rows.stop_bar,
        parameters=rows.parameters,
        legs=_decoded(request.legs) if request.legs else None,
    )
    try:
        return Done(simulation(shard))
    except AdmfError as error:
        return Failed(str(error), strategy=isinstance(error, StrategyError))


def _encoded(containers: Containers, ids: Int32) -> bytes:
    trials = TrialsCompleted(
        container=ids,
        fold=containers.fold,
        segment=containers.segment,
        first_bar=containers.first_bar,
        stop_bar=containers.stop_bar,
        parameters=dict(containers.parameters),
        metrics={},
    )
    return encode(trials).payload


def _decoded(payload: bytes) -> Legs:
    trials = decode(TrialsCompleted.__name__, 1, payload)
    if not isinstance(trials, TrialsCompleted):
        raise AdmfError(f"a shard must hold trials, was {type(trials).__name__}.")
    return Legs(
        first_id=0,
        fold=trials.fold,
        segment=trials.segment,
        first_bar=trials.first_bar,
        stop_bar=trials.stop_bar,
        parameters=trials.parameters,
        owner=trials.container,
    )


def main() -> None:
    """Answer requests until there are no more."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # What a strategy prints must not get in between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while isinstance(request := receive(sys.stdin.buffer), Request):
        send(answers, answer(request))


if __name__ == "__main__":
    main()
