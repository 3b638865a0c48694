"""Walking an event back to the bar that caused it: metric, trade, fill, order, signal, features, bar.

Everything is read from the log; features are computed anew from the bars in it.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from ..domain.bars import Bars, iso_time
from ..domain.errors import ConfigurationError, NotFoundError
from ..domain.events import (
    Event,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    PhaseStarted,
    Scalar,
    SignalsEmitted,
    TrialsCompleted,
)
from ..domain.features import compute_feature
from ..domain.topology import StrategySlot, Topology
from ..eventstore.record import Recorded
from ..eventstore.store import EventStore
from .configuration import PhaseSection
from .market_log import stored_bars
from .topology_builder import build_topology


class Explanation(msgspec.Struct, frozen=True):
    """One step of a causal chain.

    Attributes
    ----------
    address
        Address of the event; empty for something derived, such as a feature.
    title
        What it is, such as ``fill`` or ``feature fast = sma(period=10)``.
    values
        What it says.
    causes
        What led to it.
    """

    address: str
    title: str
    values: dict[str, Scalar]
    causes: tuple["Explanation", ...] = ()


def explain(store: EventStore, address: str, folder: Path) -> Explanation:
    """Walk a logical event of a phase back to the bars that caused it.

    Parameters
    ----------
    store
        The event store.
    address
        ``stream#n`` of a fill, an order, its denial or cancellation, or a signal.
    folder
        Where files of user strategies are looked for.

    Raises
    ------
    NotFoundError
        There is no such event.
    ConfigurationError
        The event is of a type that has no such chain.
    """
    stream, _, number = address.rpartition("#")
    if not number.isdigit():
        raise ConfigurationError(f"an address is stream#n, as in workflow_.../training#42; was {address!r}.")
    recorded = _event_holding(store, stream, int(number))
    return _Chain(store, stream, folder).of(recorded, int(number) - recorded.first)


def _event_holding(store: EventStore, stream: str, number: int) -> Recorded:
    for recorded in store.read(stream):
        if recorded.first <= number < recorded.first + recorded.rows:
            return recorded
    rows = store.head(stream).rows
    raise NotFoundError(
        f"there is no event {stream}#{number}; " + (f"the stream has {rows}." if rows else "no such stream.")
    )


class _Chain:
    """Builds explanations of the events of one phase."""

    def __init__(self, store: EventStore, stream: str, folder: Path) -> None:
        self._store = store
        self._stream = stream
        started = next((r.event for r in store.read(stream, topics=(PhaseStarted.__name__,))), None)
        if not isinstance(started, PhaseStarted):
            raise ConfigurationError(f"{stream!r} is not the stream of a phase; explain a fill or an order.")
        self._started = started
        self._section = PhaseSection.model_validate_json(started.configuration)
        self._topology: Topology = build_topology(self._section, (folder,), started.phase)
        self._bars: Bars = stored_bars(store, started.feeds[0])

    def of(self, recorded: Recorded, row: int) -> Explanation:
        """Explain a row of a stored event."""
        event = recorded.event
        number = recorded.first + row
        match event:
            case OrdersFilled():
                return self._outcome("fill", number, event, row, ("bar", "quantity", "price", "fee"))
            case OrdersDenied():
                return self._outcome("denial", number, event, row, ("bar", "rule", "available"))
            case OrdersCanceled():
                return self._outcome("cancellation", number, event, row, ("bar", "reason"))
            case OrdersPlaced():
                return self._order(number, event, row)
            case SignalsEmitted():
                return self._signal(number, event, row)
        raise ConfigurationError(
            f"{self._stream}#{number} is {recorded.topic}, which no bar caused; explain a fill, an order or "
            "a signal."
        )

    def _outcome(
        self,
        title: str,
        number: int,
        event: OrdersFilled | OrdersDenied | OrdersCanceled,
        row: int,
        fields: tuple[str, ...],
    ) -> Explanation:
        container, order = int(event.container[row]), int(event.order[row])
        causes = [
            self._order(first + place, placed, place)
            for first, placed, place in self._rows(OrdersPlaced, container)
            if isinstance(placed, OrdersPlaced) and placed.order[place] == order
        ]
        executed = self._bar(int(event.bar[row]), "executed in bar") if title == "fill" else None
        values = {"container": container, "order": order, **_picked(event, row, fields)}
        return Explanation(
            f"{self._stream}#{number}", title, values, (*causes, *([executed] if executed else []))
        )

    def _order(self, number: int, event: OrdersPlaced, row: int) -> Explanation:
        container, bar = int(event.container[row]), int(event.bar[row])
        causes = [
            self._signal(first + place, signals, place)
            for first, signals, place in self._rows(SignalsEmitted, container)
            if isinstance(signals, SignalsEmitted) and signals.bar[place] == bar
        ]
        ended = () if causes else (self._bar(bar, "end of data at bar"),)
        values = {"container": container, **_picked(event, row, ("order", "bar", "target"))}
        return Explanation(f"{self._stream}#{number}", "order", values, (*causes, *ended))

    def _signal(self, number: int, event: SignalsEmitted, row: int) -> Explanation:
        container, bar = int(event.container[row]), int(event.bar[row])
        slot = self._topology.slots[int(event.strategy[row])]
        parameters = self._topology.resolve(slot, self._parameters(container))
        values: dict[str, Scalar] = {
            "strategy": slot.name,
            "target": float(event.target[row]),
            "time": iso_time(self._bars.time[bar]),
            **parameters,
        }
        causes = (*self._features(slot, parameters, bar), self._bar(bar, "decided at bar"))
        return Explanation(f"{self._stream}#{number}", f"signal of {slot.strategy.name}", values, causes)

    def _features(self, slot: StrategySlot, parameters: dict[str, Scalar], bar: int) -> list[Explanation]:
        explained = []
        for argument, spec in slot.strategy.needs(parameters).items():
            values = compute_feature(spec, self._bars.head(bar + 1))
            before = float(values[bar - 1]) if bar else float("nan")
            shown: dict[str, Scalar] = {"value": float(values[bar]), "bar before": before}
            explained.append(Explanation("", f"feature {argument} = {spec}", shown))
        return explained

    def _bar(self, bar: int, title: str) -> Explanation:
        series = ("open", "high", "low", "close", "volume")
        values: dict[str, Scalar] = {"bar": bar, "time": iso_time(self._bars.time[bar])}
        values |= {name: float(getattr(self._bars, name)[bar]) for name in series}
        return Explanation(f"{self._started.feeds[0].stream}#{bar + 1}", title, values)

    def _parameters(self, container: int) -> dict[str, Scalar]:
        for _, trials, place in self._rows(TrialsCompleted, container):
            if isinstance(trials, TrialsCompleted):
                return {name: column[place].item() for name, column in trials.parameters.items()}
        return {}

    def _rows(self, kind: type[Event], container: int) -> Iterator[tuple[int, Event, int]]:
        """Yield the rows of a container among the events of one type: first number, event, row."""
        for recorded in self._store.read(self._stream, topics=(kind.__name__,)):
            low, high = recorded.statistics["container"]
            if low <= container <= high:
                event = recorded.event
                for place in np.flatnonzero(getattr(event, "container") == container):  # noqa: B009
                    yield recorded.first, event, int(place)


def _picked(event: Event, row: int, fields: tuple[str, ...]) -> dict[str, Scalar]:
    return {name: getattr(event, name)[row].item() for name in fields}
