"""Walking an event back to the bar that caused it: fill, order, signal, features, bar.

Everything is read from the log; features are computed anew from the bars in it.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from ...domain.bars import DAY, Bars, iso_time
from ...domain.codes import CancelReason, DenialRule, OrderType, Segment
from ...domain.errors import ConfigurationError
from ...domain.events import (
    InterestCharged,
    NumericEvent,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    PhaseStarted,
    RegimesClassified,
    Scalar,
    SignalsEmitted,
    TrialsCompleted,
)
from ...domain.features import SERIES, compute_feature, feature_inputs
from ...domain.panel import Panel
from ...domain.topology import StrategySlot, Topology
from ...domain.weighting import own_weights
from ...eventstore.record import Recorded
from ...eventstore.store import EventStore
from ..configuration.sections import PhaseSection
from ..market.market_log import MarketLog, stored_bars
from ..phases.classification import Classification, classification
from ..simulation.topology_builder import build_topology
from ..streams.earlier_signals import SOURCE
from ..streams.run_history import run_history
from ..streams.trace_query import TraceQuery

Numeric = TypeVar("Numeric", bound=NumericEvent)


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


def explain(store: EventStore, address: str) -> Explanation:
    """Walk a logical event of a phase back to the bars that caused it.

    Parameters
    ----------
    store
        The event store.
    address
        ``stream#n`` of a fill, an order, its denial or cancellation, a signal, a regime, or interest.

    Raises
    ------
    NotFoundError
        There is no such event.
    ConfigurationError
        The event is of a type that has no such chain, or the code of its strategy is gone.
    """
    stream, _, number = address.rpartition("#")
    if not number.isdecimal():
        raise ConfigurationError(f"an address is stream#n, as in workflow_.../training#42; was {address!r}.")
    recorded = store.event_at(stream, int(number))
    return CausalChain(store, stream).of(recorded, int(number) - recorded.first)


class CausalChain:
    """Explains the events of one phase.

    Parameters
    ----------
    store, stream
        The stream of the phase.

    Raises
    ------
    ConfigurationError
        It is not the stream of a phase.
    """

    def __init__(self, store: EventStore, stream: str) -> None:
        self._store = store
        self.stream = stream
        started = next((r.event for r in store.read(stream, topics=(PhaseStarted.__name__,))), None)
        if not isinstance(started, PhaseStarted):
            raise ConfigurationError(
                f"{stream!r} must be the stream of a phase that has started, and is not. `admf show` lists "
                "the phases of a run."
            )
        self.started = started
        self._section = PhaseSection.model_validate_json(started.configuration)
        self._bars: dict[int, Bars] = {}

    def of(self, recorded: Recorded, row: int) -> Explanation:
        """Explain a row of a stored event."""
        event = recorded.event
        number = recorded.first + row
        match event:
            case OrdersFilled():
                return self.fill(number, event, row)
            case OrdersDenied():
                rule = DenialRule(int(event.rule[row])).name.lower()
                values: dict[str, Scalar] = {"rule": rule, **_picked(event, row, ("required", "available"))}
                return self._outcome("denial", number, event, row, values)
            case OrdersCanceled():
                reason = CancelReason(int(event.reason[row])).name.lower()
                return self._outcome("cancellation", number, event, row, {"reason": reason})
            case OrdersPlaced():
                return self._order(number, event, row)
            case SignalsEmitted():
                return self._signal(number, event, row)
            case InterestCharged():
                return self._interest(number, event, row)
            case RegimesClassified():
                return self._classified(number, event, row)
        raise ConfigurationError(
            f"{self.stream}#{number} is {recorded.topic}: explain a fill, an order, its denial or "
            "cancellation, a signal, a regime, or interest; or a trade by --trade, or a metric by --metric."
        )

    def fill(self, number: int, event: OrdersFilled, row: int) -> Explanation:
        """Explain a fill by its order and the bar that it happened in."""
        values = _picked(event, row, ("quantity", "price", "fee"))
        return self._outcome("fill", number, event, row, values)

    def rows(self, kind: type[Numeric], container: int) -> Iterator[tuple[int, Numeric, int]]:
        """Yield the rows of a container among the events of one type: number, event, row."""
        for recorded in self._store.read(self.stream, topics=(kind.__name__,)):
            low, high = recorded.statistics.get("container", (1, 0))
            if low <= container <= high and isinstance(event := recorded.event, kind):
                for row in np.flatnonzero(getattr(event, "container") == container):  # noqa: B009
                    yield recorded.first + int(row), event, int(row)

    def bars(self, symbol: int) -> Bars:
        """Return the bars of a symbol."""
        if symbol not in self._bars:
            self._bars[symbol] = stored_bars(self._store, self.started.feeds[symbol])
        return self._bars[symbol]

    @cached_property
    def panel(self) -> Panel:
        """The bars of all symbols."""
        return Panel([self.bars(symbol) for symbol in range(len(self.started.feeds))])

    def named(self, symbol: int) -> dict[str, Scalar]:
        """Name a symbol, where there are several."""
        return {"symbol": self.started.feeds[symbol].symbol} if len(self.started.feeds) > 1 else {}

    def bar(self, symbol: int, bar: int, title: str) -> Explanation:
        """Show a bar, under the title of what happened at it."""
        bars = self.bars(symbol)
        values = {**self.named(symbol), "bar": bar, "time": iso_time(bars.time[bar])}
        values |= {name: float(getattr(bars, name)[bar]) for name in SERIES}
        return Explanation(f"{self.started.feeds[symbol].stream}#{bar + 1}", title, values)

    @cached_property
    def _topology(self) -> Topology:
        folder = run_history(self._store, self.stream.partition("/")[0]).started.folder
        return build_topology(self._section, (Path(folder),), self.started.phase)

    def _outcome(
        self,
        title: str,
        number: int,
        event: OrdersFilled | OrdersDenied | OrdersCanceled,
        row: int,
        values: dict[str, Scalar],
    ) -> Explanation:
        container, order = int(event.container[row]), int(event.order[row])
        causes = [
            self._order(first, placed, place)
            for first, placed, place in self.rows(OrdersPlaced, container)
            if placed.order[place] == order
        ]
        if not causes:
            causes = [Explanation("", "order, not recorded", {"log": self._section.log})]
        if title != "cancellation":
            causes.append(self.bar(int(event.symbol[row]), int(event.bar[row]), "executed in bar"))
        said: dict[str, Scalar] = {"container": container, "order": order}
        said |= {**self.named(int(event.symbol[row])), "bar": int(event.bar[row])}
        return Explanation(f"{self.stream}#{number}", title, said | values, tuple(causes))

    def _order(self, number: int, event: OrdersPlaced, row: int) -> Explanation:
        container, symbol, bar = (int(column[row]) for column in (event.container, event.symbol, event.bar))
        kind = OrderType(int(event.type[row]))
        if kind <= OrderType.STOP_LIMIT:
            causes = tuple(self._signals(container, symbol, bar))
        else:
            causes = (self.bar(symbol, bar, f"{kind.name.lower()} at bar".replace("_", " ")),)
        prices = {
            name: float(column[row]) for name, column in event.prices.items() if column[row] == column[row]
        }
        values = _picked(event, row, ("container", "order"))
        values |= {**self.named(symbol), **_picked(event, row, ("bar", "target"))}
        values |= {"type": kind.name.lower(), **prices}
        return Explanation(f"{self.stream}#{number}", "order", values, causes)

    def _interest(self, number: int, event: InterestCharged, row: int) -> Explanation:
        """Explain interest by what was borrowed since the bar before, and by the last fill until then."""
        container, symbol, bar = (int(column[row]) for column in (event.container, event.symbol, event.bar))
        margin, place = self._section.execution.margin, self._place(symbol, bar)
        before = [
            fill
            for fill in self.rows(OrdersFilled, container)
            if self._place(int(fill[1].symbol[fill[2]]), int(fill[1].bar[fill[2]])) < place
            and symbol in (-1, fill[1].symbol[fill[2]])
        ]
        causes = [self.fill(*before[-1])] if before else []
        values: dict[str, Scalar] = {"container": container}
        if symbol >= 0:
            time = self.bars(symbol).time
            causes += [self.bar(symbol, bar - 1, "borrowed at bar"), self.bar(symbol, bar, "charged at bar")]
            values |= {**self.named(symbol), "rate": margin.borrow_rate}
            values["units"] = -sum(float(fills.quantity[at]) for _, fills, at in before)
            values["close"] = float(self.bars(symbol).close[bar - 1])
        else:
            time = self.panel.time
            spent = [fills.quantity[at] * fills.price[at] + fills.fee[at] for _, fills, at in before]
            spent += [
                charged.amount[at]
                for _, charged, at in self.rows(InterestCharged, container)
                if self._place(int(charged.symbol[at]), int(charged.bar[at])) < place
            ]
            values |= {"rate": margin.interest_rate, "borrowed": float(sum(spent)) - self.started.capital}
        values |= {"days": float(time[bar] - time[bar - 1]) / DAY, "bar": bar, "time": iso_time(time[bar])}
        what = "short units" if symbol >= 0 else "cash"
        title = f"interest on {what}"
        return Explanation(
            f"{self.stream}#{number}", title, values | {"amount": float(event.amount[row])}, tuple(causes)
        )

    def _place(self, symbol: int, bar: int) -> int:
        """Return the place of a bar on the timeline; what belongs to no symbol has a place itself."""
        return bar if symbol < 0 else int(self.panel.at[symbol][bar])

    def _signals(self, container: int, symbol: int, bar: int) -> Iterator[Explanation]:
        """Explain the signals that a container follows at a bar; they may be those of an earlier phase."""
        parameters = self._parameters(container, self._place(symbol, bar))
        if SOURCE in parameters:
            source = TraceQuery(self._store).stream(
                self.stream.partition("/")[0], self._section.inherit_best_from
            )
            yield from CausalChain(self._store, source)._signals(int(parameters[SOURCE]), symbol, bar)
            return
        regime = self._regime(bar)
        latest = {
            int(signals.strategy[place]): (first, signals, place)
            for first, signals, place in self.rows(SignalsEmitted, container)
            if signals.bar[place] <= bar and signals.symbol[place] == symbol
        }
        for strategy, signal in latest.items():
            explained = self._signal(*signal)
            if len(self._topology.slots) > 1 or regime is not None:
                label = -1 if regime is None else int(regime.values["number"])
                weight = own_weights(self._topology, self._topology.slots[strategy], parameters)[label + 1]
                explained = msgspec.structs.replace(explained, values={**explained.values, "weight": weight})
            yield explained
        if regime is not None:
            yield regime

    def _regime(self, bar: int) -> Explanation | None:
        """Show the regime at the close of a bar, in a phase that tells regimes apart."""
        if not self._topology.regimes:
            return None
        for recorded in self._store.read(self.stream, topics=(RegimesClassified.__name__,)):
            if isinstance(event := recorded.event, RegimesClassified):
                for row in np.flatnonzero(event.bar == bar).tolist():
                    return self._classified(recorded.first + row, event, row)
        return Explanation("", "regime, not known", {"bar": bar, "number": -1})

    def _classified(self, number: int, event: RegimesClassified, row: int) -> Explanation:
        """Explain a regime by what its classifier measured, at the bar and at the one before."""
        if self._classification is None:
            raise ConfigurationError(
                f"{self.stream}#{number}: the phase compares classifiers; explain a regime of one that has a "
                "`classifier`."
            )
        bar, regime = int(event.bar[row]), int(event.regime[row])
        names, time = self._classification.names, iso_time(self.bars(0).time[bar])
        said: dict[str, Scalar] = {"bar": bar, "time": time, "number": regime, "name": names[regime]}
        causes = (
            Explanation("", "classifier", self._classification.decided_by(self.bars(0), bar)),
            self.bar(0, bar, "classified at bar"),
        )
        return Explanation(f"{self.stream}#{number}", "regime", said, causes)

    @cached_property
    def _classification(self) -> Classification | None:
        panel, window = MarketLog(self._store).window(self._section, self.started.feeds)
        return classification(self._section, panel.head(window.stop))

    def _signal(self, number: int, event: SignalsEmitted, row: int) -> Explanation:
        container, symbol, bar = (int(column[row]) for column in (event.container, event.symbol, event.bar))
        slot = self._topology.slots[int(event.strategy[row])]
        parameters = self._topology.resolve(slot, self._parameters(container, self._place(symbol, bar)))
        values: dict[str, Scalar] = {
            "container": container,
            **self.named(symbol),
            "bar": bar,
            "time": iso_time(self.bars(symbol).time[bar]),
            "target": float(event.target[row]),
            **parameters,
        }
        causes = (
            *self._features(slot, parameters, symbol, bar),
            self.bar(symbol, bar, "decided at bar"),
        )
        return Explanation(f"{self.stream}#{number}", f"signal of {slot.name}", values, causes)

    def _features(
        self, slot: StrategySlot, parameters: dict[str, Scalar], symbol: int, bar: int
    ) -> Iterator[Explanation]:
        """Show each feature of a strategy, and what it is computed from, at a bar and at the one before."""
        bars = self.bars(symbol).head(bar + 1)
        for argument, spec in slot.strategy.needs(parameters).items():
            series = {"value": compute_feature(spec, bars), **feature_inputs(spec, bars)}
            values: dict[str, Scalar] = {}
            for name, column in series.items():
                values[name] = float(column[bar])
                values[f"{name} before"] = float(column[bar - 1]) if bar else float("nan")
            yield Explanation("", f"feature {argument} = {spec}", values)

    def _parameters(self, container: int, place: int | None = None) -> dict[str, Scalar]:
        """Return the parameters of a container, or those that it had at a place on the timeline."""
        for _, trials, row in self.rows(TrialsCompleted, container):
            if place is not None and trials.segment[row] == Segment.STITCHED:
                return self._tested(place, container)
            return {name: column[row].item() for name, column in trials.parameters.items()}
        return {}

    def _tested(self, place: int, container: int) -> dict[str, Scalar]:
        """Return the parameters of the test that an account over several takes over at a place.

        Of a cross-validation the first account has what the first split chose that tests it, and so on.
        """
        tests: list[dict[str, Scalar]] = []
        accounts: list[int] = []
        for recorded in self._store.read(self.stream, topics=(TrialsCompleted.__name__,)):
            if isinstance(trials := recorded.event, TrialsCompleted):
                inside = (trials.first_bar <= place) & (place < trials.stop_bar)
                tests += [
                    {name: column[row].item() for name, column in trials.parameters.items()}
                    for row in np.flatnonzero(inside & (trials.segment == Segment.TEST))
                ]
                accounts += trials.container[trials.segment == Segment.STITCHED].tolist()
        return tests[accounts.index(container)]


def _picked(event: NumericEvent, row: int, fields: tuple[str, ...]) -> dict[str, Scalar]:
    return {name: getattr(event, name)[row].item() for name in fields}
