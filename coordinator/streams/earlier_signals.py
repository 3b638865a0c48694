"""Signals that an earlier phase emitted, for a phase that follows them without calling any strategy."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
import numpy as np

from ...domain.columns import joined, rows_at
from ...domain.errors import ConfigurationError
from ...domain.events import (
    Column,
    Feed,
    Float64,
    Int16,
    Int32,
    Int64,
    PhaseOutput,
    SignalsEmitted,
    TrialsCompleted,
)
from ...domain.strategies import PRICES
from ...domain.targets import Changes, Line
from ...domain.topology import Containers, Topology
from ..configuration.ensemble_section import MemberSection
from ..configuration.sections import PhaseSection, TopSection
from .trace_query import TraceQuery

SOURCE = "source_container"
"""The parameter of a container that names the container whose signals it follows."""


class Signals(NamedTuple):
    """Signals of some containers of an earlier phase, container after container.

    Attributes
    ----------
    container, ends
        The containers, in ascending order, and the row after each one's last signal; shape (n_containers,).
    strategy, symbol, bar, target
        As in `SignalsEmitted`, shape (n_signals,).
    price
        Order prices in the columns of `PRICES`, shape (n_signals, 4), or (0, 4) where there are none.
    """

    container: Int32
    ends: Int64
    strategy: Int16
    symbol: Int16
    bar: Int32
    target: Float64
    price: Float64

    def lines(self, topology: Topology, symbols: int, shard: Containers) -> list[Line]:
        """Return the lines of signals that the containers of a shard follow, as their strategies gave them.

        Parameters
        ----------
        topology
            Whose slots are those of the earlier phase; the weights may be others.
        symbols
            Number of symbols.
        shard
            Containers with the parameter `SOURCE`; without it, each follows the one with its own number, and
            those beyond the last one, that.
        """
        own_ids = np.minimum(np.arange(shard.first_id, shard.first_id + len(shard)), self.container[-1])
        place = np.searchsorted(self.container, shard.parameters.get(SOURCE, own_ids))
        counts = np.diff(self.ends, prepend=0)[place]
        owner = np.repeat(np.arange(len(shard)), counts)
        before = np.repeat(self.ends[place] - np.cumsum(counts), counts)
        rows = np.arange(owner.size) + before
        strategy, symbol = self.strategy[rows], self.symbol[rows]
        lines = []
        for number, slot in enumerate(topology.slots):
            weight = slot.weight if slot.symbols else slot.weight / symbols
            for each in slot.symbols or range(symbols):
                own = (strategy == number) & (symbol == each)
                ends = np.cumsum(np.bincount(owner[own], minlength=len(shard)))
                price = self.price[rows[own]] if self.price.size else self.price
                changes = Changes(ends, self.bar[rows[own]], self.target[rows[own]], price)
                lines.append(Line(number, each, weight, changes))
        return lines

    def of(self, container: int, strategies: Int64) -> Self:
        """Return the signals of one container, with other numbers for its strategies."""
        place = int(np.searchsorted(self.container, container))
        rows = slice(int(self.ends[place - 1]) if place else 0, int(self.ends[place]))
        return type(self)(
            self.container[place : place + 1],
            np.array([rows.stop - rows.start]),
            strategies[self.strategy[rows]].astype(np.int16),
            self.symbol[rows],
            self.bar[rows],
            self.target[rows],
            self.price[rows] if self.price.size else self.price,
        )

    def save(self, folder: Path) -> None:
        """Write the columns into files that other processes map."""
        for name, column in self._asdict().items():
            np.save(folder / f"signals.{name}.npy", column)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Map what `save` wrote, if it wrote anything."""
        files = [folder / f"signals.{name}.npy" for name in cls._fields]
        return cls(*(np.load(file, mmap_mode="r") for file in files)) if files[0].exists() else None


class Source(msgspec.Struct, frozen=True):
    """What a phase takes over from the one whose signals it follows: signals, and its trials' parameters."""

    signals: Signals
    parameters: dict[str, Column]


def read_source(trace: TraceQuery, run: str, section: PhaseSection, feeds: tuple[Feed, ...]) -> Source:
    """Read the signals that a phase follows from the stream of the earlier phase.

    Raises
    ------
    NotFoundError
        The earlier phase has not ended well.
    ConfigurationError
        The earlier phase did not log its signals, or the two don't fit: see `require_replayable`; or it read
        other bars.
    """
    if section.ensemble is not None:
        return Source(_member_signals(trace, run, section, section.ensemble.members, feeds), {})
    stream = earlier_stream(trace, run, section, section.inherit_best_from, feeds, require_replayable)
    trials = chosen_trials(trace, run, section.inherit_best_from, section.trials)
    strategies = tuple(f"{strategy.name}." for strategy in section.strategies)
    parameters = {name: column for name, column in trials.parameters.items() if name.startswith(strategies)}
    return Source(_signals(trace, stream, trials.container), parameters)


def earlier_stream(
    trace: TraceQuery,
    run: str,
    section: PhaseSection,
    source: str,
    feeds: tuple[Feed, ...],
    require: Callable[[PhaseSection, PhaseSection], None],
) -> str:
    """Return the stream of an earlier phase whose signals or trials another phase takes.

    Raises
    ------
    ConfigurationError
        The two don't fit, as ``require`` says of their sections; or the earlier phase read other bars.
    """
    stream = trace.stream(run, source)
    started = trace.start(stream)
    if started:
        require(section, PhaseSection.model_validate_json(started.configuration))
        if started.feeds != feeds:
            raise ConfigurationError(
                f"phase {section.name!r} must read the bars that {source!r} read, whose signals or trials it "
                "takes, and would read others; run that phase again, too."
            )
    return stream


def _member_signals(
    trace: TraceQuery,
    run: str,
    section: PhaseSection,
    members: tuple[MemberSection, ...],
    feeds: tuple[Feed, ...],
) -> Signals:
    """Read the signals of members: each in a container of its own, and all of them in one more."""
    found = {}
    for phase in dict.fromkeys(member.phase for member in members):
        containers = np.array(sorted(each.container for each in members if each.phase == phase), np.int32)
        found[phase] = _signals(
            trace, earlier_stream(trace, run, section, phase, feeds, require_replayable), containers
        )
    slots = {strategy.name: number for number, strategy in enumerate(section.strategies)}
    parts = [
        found[member.phase].of(member.container, np.array([slots[name] for name in member.strategies]))
        for member in members
    ]
    if any(part.price.size for part in parts):
        raise ConfigurationError(
            f"phase {section.name!r}: strategies that state order prices can't be members of an ensemble, "
            "whose targets add up to one order; choose other trials."
        )
    counts = [part.bar.size for part in parts]
    return Signals(
        container=np.arange(len(members) + 1, dtype=np.int32),
        ends=np.cumsum([*counts, sum(counts)]),
        strategy=np.concatenate([part.strategy for part in (*parts, *parts)]),
        symbol=np.concatenate([part.symbol for part in (*parts, *parts)]),
        bar=np.concatenate([part.bar for part in (*parts, *parts)]),
        target=np.concatenate([part.target for part in (*parts, *parts)]),
        price=np.empty((0, len(PRICES))),
    )


def require_replayable(section: PhaseSection, source: PhaseSection, where: str = "") -> None:
    """Check that a phase can follow the signals of another.

    Raises
    ------
    ConfigurationError
        The other phase emits no signals, keeps none, or cuts its period into folds; or the phase states other
        strategies, unless it is an ensemble, or another period.
    """
    where, name = where or f"phase {section.name!r}", source.name
    if source.type == "signal_replay" or source.type == section.type:
        raise ConfigurationError(
            f"{where}: the phase {name!r} follows signals itself; name the phase that emitted "
            f"them, {source.inherit_best_from!r}."
        )
    if source.log != "full":
        raise ConfigurationError(
            f"{where}: the phase {name!r} must log its signals; give it `log: full`, was `log: {source.log}`."
        )
    if source.walk_forward or source.cross_validation:
        raise ConfigurationError(
            f"{where}: the phase {name!r} has folds, each with its own period; name a phase without."
        )
    ours, theirs = (
        [
            f"{each.name}{' on ' if each.symbols else ''}{' and '.join(each.symbols)}"
            for each in phase.strategies
        ]
        for phase in (section, source)
    )
    if ours != theirs and section.type != "ensemble":
        raise ConfigurationError(
            f"{where}.strategies: must be those of {name!r}, whose signals it follows "
            f"({', '.join(theirs)}), were {', '.join(ours)}; only their weights may differ."
        )
    if section.data != source.data:
        raise ConfigurationError(
            f"{where}.data: must be that of {name!r}, whose signals it follows; leave it out."
        )


def chosen_trials(trace: TraceQuery, run: str, phase: str, which: str | TopSection | None) -> TrialsCompleted:
    """Return the trials of an earlier phase whose signals are followed, in the order of their containers."""
    output = trace.get_phase_output(run, phase)
    parts = [recorded.event for recorded in trace.events(trace.stream(run, phase), TrialsCompleted.__name__)]
    trials = joined([part for part in parts if isinstance(part, TrialsCompleted)])
    return rows_at(trials, _chosen(trials, output, which or "best"))


def _chosen(trials: TrialsCompleted, output: PhaseOutput, which: str | TopSection) -> Int64:
    """Return the rows of the trials whose signals are followed, in ascending order."""
    if which == "all":
        return np.arange(trials.container.size)
    if isinstance(which, TopSection) and output.objective:
        values = trials.metrics[output.objective]
        ranks = np.argsort(values if output.direction == "minimize" else -values, kind="stable")
        return np.sort(ranks[: which.top])
    best = output.best.container if output.best else -1
    return np.flatnonzero(trials.container == best)


def _signals(trace: TraceQuery, stream: str, containers: Int32) -> Signals:
    """Read the signals of containers; in a stream they lie in the order of their containers."""
    parts = list(_emitted(trace, stream, containers)) or [_NONE]
    priced = any(part.prices for part in parts)
    return Signals(
        container=containers,
        ends=np.searchsorted(np.concatenate([part.container for part in parts]), containers, side="right"),
        strategy=np.concatenate([part.strategy for part in parts]),
        symbol=np.concatenate([part.symbol for part in parts]),
        bar=np.concatenate([part.bar for part in parts]),
        target=np.concatenate([part.target for part in parts]),
        price=np.concatenate([_prices(part) for part in parts]) if priced else np.empty((0, len(PRICES))),
    )


def _emitted(trace: TraceQuery, stream: str, containers: Int32) -> Iterator[SignalsEmitted]:
    for recorded in trace.events(stream, SignalsEmitted.__name__):
        low, high = recorded.statistics.get("container", (1, 0))
        event = recorded.event
        if isinstance(event, SignalsEmitted) and ((containers >= low) & (containers <= high)).any():
            yield rows_at(event, np.flatnonzero(np.isin(event.container, containers)))


def _prices(event: SignalsEmitted) -> Float64:
    if not event.prices:
        return np.full((event.bar.size, len(PRICES)), np.nan)
    return np.stack([event.prices[name] for name in PRICES], axis=1)


_NONE = SignalsEmitted(
    container=np.empty(0, np.int32),
    strategy=np.empty(0, np.int16),
    symbol=np.empty(0, np.int16),
    bar=np.empty(0, np.int32),
    target=np.empty(0),
)
