"""What a phase may touch: its section, its topology, the bars, and a way to simulate containers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
import numpy as np

from ...domain.bars import Window
from ...domain.codes import Segment
from ...domain.events import Column, Event, Int32, Int64, Trial, TrialsCompleted
from ...domain.panel import Panel
from ...domain.search_space import column_of
from ...domain.topology import Containers, Legs, Topology
from ..configuration.sections import PhaseSection
from ..streams.earlier_signals import Source
from ..streams.earlier_trials import EarlierPhase, Shard
from ..streams.tried_phases import TriedPhase
from .classification import Classification


class PhaseContext(msgspec.Struct, frozen=True):
    """What a phase works with.

    Attributes
    ----------
    section
        Its resolved configuration.
    topology
        What it simulates, apart from the bars and the containers.
    panel, window
        The bars up to the end of the period, and the period that is traded.
    planned
        The containers that its plan returned.
    publish
        Appends an event to the phase's stream.
    simulate
        Simulates containers, appends what happened to the phase's stream, and returns the trials.
    source
        What it takes over from the phase whose signals it follows, if it does.
    earlier
        The phase that it analyzes, if it does.
    classification
        Its bars by regime, if it asks for them.
    shards
        Reads what it has simulated so far, with returns.
    tried
        Reads the searches whose winners it compares, if it does.
    """

    section: PhaseSection
    topology: Topology
    panel: Panel
    window: Window
    planned: Containers
    publish: Callable[[Event], None]
    simulate: Callable[[Containers], TrialsCompleted]
    source: Source | None = None
    earlier: EarlierPhase | None = None
    classification: Classification | None = None
    shards: Callable[[], Iterator[Shard]] = lambda: iter(())
    tried: Callable[[], Iterable[TriedPhase]] = tuple


def containers_over(
    window: Window,
    parameters: Mapping[str, Column],
    *,
    count: int = 1,
    first_id: int = 0,
    fold: int = -1,
    segment: Segment = Segment.WHOLE,
) -> Containers:
    """Return `count` containers that trade one window, with their `parameters` in columns."""
    return Containers(
        first_id=first_id,
        fold=np.full(count, fold, np.int16),
        segment=np.full(count, segment, np.int8),
        first_bar=np.full(count, window.first, np.int32),
        stop_bar=np.full(count, window.stop, np.int32),
        parameters=parameters,
    )


def containers_in_turn(
    windows: Sequence[Window],
    parameters: Mapping[str, Column],
    *,
    count: int,
    first_id: int,
    fold: int,
    segment: Segment,
) -> Containers:
    """Return `count` containers that trade the same windows in turn, with their `parameters` in columns."""
    whole = containers_over(
        Window(windows[0].first, windows[-1].stop),
        parameters,
        count=count,
        first_id=first_id,
        fold=fold,
        segment=segment,
    )
    if len(windows) == 1:
        return whole
    each = [
        containers_over(window, parameters, count=count, first_id=first_id, fold=fold, segment=segment)
        for window in windows
    ]
    rows = np.arange(count * len(windows)).reshape(len(windows), count).T.ravel()
    owner = np.repeat(np.arange(count, dtype=np.int32), len(windows))
    return msgspec.structs.replace(whole, legs=_legs(taken(_end_to_end(each), rows), owner))


def _end_to_end(parts: Sequence[Containers]) -> Containers:
    """Put the rows of containers one after the other, without their legs."""
    return Containers(
        first_id=parts[0].first_id,
        fold=np.concatenate([part.fold for part in parts]),
        segment=np.concatenate([part.segment for part in parts]),
        first_bar=np.concatenate([part.first_bar for part in parts]),
        stop_bar=np.concatenate([part.stop_bar for part in parts]),
        parameters={
            name: np.concatenate([part.parameters[name] for part in parts]) for name in parts[0].parameters
        },
    )


def joined_containers(parts: Sequence[Containers]) -> Containers:
    """Put containers with consecutive ids and the same parameters one after the other."""
    together = _end_to_end(parts)
    if all(part.legs is None for part in parts):
        return together
    starts = np.cumsum([0, *(len(part) for part in parts)])
    legs = [
        _legs(part, np.arange(len(part), dtype=np.int32)) if part.legs is None else part.legs
        for part in parts
    ]
    owner = [each.owner + np.int32(start) for each, start in zip(legs, starts.tolist(), strict=False)]
    return msgspec.structs.replace(together, legs=_legs(_end_to_end(legs), np.concatenate(owner)))


def accounts_over(members: Sequence[Containers], first_id: int) -> Containers:
    """Return one account for each of `members`, which trades the windows of its rows one after the other."""
    rows, counts = _end_to_end(members), [len(each) for each in members]
    owner = np.repeat(np.arange(len(members), dtype=np.int32), counts)
    last = np.cumsum(counts) - 1
    whole = taken(rows, last)
    return Containers(
        first_id=first_id,
        fold=np.full(len(members), -1, np.int16),
        segment=np.full(len(members), Segment.STITCHED, np.int8),
        first_bar=rows.first_bar[np.append(0, last[:-1] + 1)],
        stop_bar=whole.stop_bar,
        parameters=whole.parameters,
        legs=_legs(rows, owner),
    )


def taken(containers: Containers, rows: Int64) -> Containers:
    """Return some containers, in the order of ``rows``, without their legs."""
    return msgspec.structs.replace(
        containers,
        fold=containers.fold[rows],
        segment=containers.segment[rows],
        first_bar=containers.first_bar[rows],
        stop_bar=containers.stop_bar[rows],
        parameters={name: column[rows] for name, column in containers.parameters.items()},
        legs=None,
    )


def _legs(rows: Containers, owner: Int32) -> Legs:
    return Legs(
        first_id=rows.first_id,
        fold=rows.fold,
        segment=rows.segment,
        first_bar=rows.first_bar,
        stop_bar=rows.stop_bar,
        parameters=rows.parameters,
        owner=owner,
    )


def trial_at(trials: TrialsCompleted, row: int) -> Trial:
    """Return one row of the trials."""
    return Trial(
        container=int(trials.container[row]),
        parameters={name: column[row].item() for name, column in trials.parameters.items()},
        metrics={name: float(column[row]) for name, column in trials.metrics.items()},
    )


def parameters_of(trials: Sequence[Trial]) -> dict[str, Column]:
    """Return the parameters of trials in columns."""
    return {
        name: column_of(name, [trial.parameters[name] for trial in trials]) for name in trials[0].parameters
    }
