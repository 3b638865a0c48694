"""Which logical events are meant, found without decoding the batches that can't hold any."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import get_args

import msgspec
import numpy as np

from ...domain.errors import ConfigurationError, UnknownNameError
from ...domain.events import BarsLoaded, ControlEvent, Event, Int16, Int32, Int64, NumericEvent
from ...eventstore.record import Recorded
from .phase_names import PhaseNames

CONTROL = frozenset(kind.__name__ for kind in get_args(ControlEvent))
FIELDS = {kind.__name__: frozenset(kind.__struct_fields__) for kind in get_args(NumericEvent)}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Logical events that keep all of these conditions.

    Attributes
    ----------
    kind
        Their type; any where it is empty.
    container
        The container that they belong to.
    symbol
        The symbol that they belong to; any, and none, where it is empty.
    since, until
        Bounds of their time, both included, nanoseconds since 1970 in UTC. It is the time of an event's bar,
        or that of its recording where it has none.
    """

    kind: str = ""
    container: int | None = None
    symbol: str = ""
    since: int | None = None
    until: int | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """Types of the events that may be meant; empty for all.

        Raises
        ------
        UnknownNameError
            There is no such type of event.
        ConfigurationError
            Events of that type belong to no container, or no symbol.
        """
        if self.kind and self.kind not in CONTROL | FIELDS.keys():
            raise UnknownNameError("type of event", self.kind, CONTROL | FIELDS.keys())
        wanted = {"container"} if self.container is not None else set()
        wanted |= {"symbol"} if self.symbol else set()
        fitting = {topic for topic, fields in FIELDS.items() if wanted <= fields}
        if wanted and self.kind and self.kind not in fitting:
            raise ConfigurationError(
                f"events of the type {self.kind} belong to no {' and '.join(sorted(wanted))}; those of the "
                f"types {', '.join(sorted(fitting))} do."
            )
        if self.kind:
            return (self.kind,)
        return tuple(sorted(fitting)) if wanted else ()


def moments(text: str) -> tuple[int, int]:
    """Return the first and the last nanosecond of a day, ``2020-03-31``, or of a second, in UTC.

    Raises
    ------
    ConfigurationError
        The text is neither a date nor a date with a time, in ISO 8601.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"a time is written as 2020-03-31 or 2020-03-31T14:30:00, in UTC; was {text!r}."
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    span = timedelta(days=1) if len(text) <= len("2020-03-31") else timedelta(seconds=1)
    first = (moment - EPOCH) // timedelta(microseconds=1) * 1000
    return first, first + span // timedelta(microseconds=1) * 1000 - 1


class EventSearch:
    """Finds the rows of stored events that a filter means.

    Parameters
    ----------
    wanted
        The filter.
    names
        Those of the stream whose events will be searched.

    Raises
    ------
    UnknownNameError
        The stream has no such symbol.
    """

    def __init__(self, wanted: EventFilter, names: PhaseNames) -> None:
        self._wanted = wanted
        self._names = names
        self._symbol: int | None = None
        if wanted.symbol:
            if wanted.symbol not in names.symbols:
                raise UnknownNameError("symbol", wanted.symbol, names.symbols)
            self._symbol = names.symbols.index(wanted.symbol)
        self._timed = wanted.since is not None or wanted.until is not None

    def rows(self, recorded: Recorded) -> Sequence[int]:
        """Return the rows that are meant; what can't hold any is not decoded."""
        if not self._may_hold(recorded):
            return ()
        if recorded.topic in CONTROL or not (self._timed or self._chosen):
            return range(recorded.rows)
        event = recorded.event
        meant = np.ones(recorded.rows, np.bool_)
        for name, value in self._chosen.items():
            meant &= getattr(event, name) == value
        if self._timed:
            time = _times(event, recorded, self._names)
            first, last = self._bounds
            meant &= (time >= first) & (time <= last)
        rows: list[int] = np.flatnonzero(meant).tolist()
        return rows

    @property
    def _chosen(self) -> dict[str, int]:
        """Columns that must have one value."""
        chosen = {"container": self._wanted.container, "symbol": self._symbol}
        return {name: value for name, value in chosen.items() if value is not None}

    @property
    def _bounds(self) -> tuple[int, int]:
        since, until = self._wanted.since, self._wanted.until
        limits = np.iinfo(np.int64)
        return limits.min if since is None else since, limits.max if until is None else until

    def _may_hold(self, recorded: Recorded) -> bool:
        if not self._chosen and not self._timed:
            return True
        statistics = recorded.statistics
        for name, value in self._chosen.items():
            low, high = statistics.get(name, (1, 0))
            if not low <= value <= high:
                return False
        return not self._timed or self._may_be_then(recorded)

    def _may_be_then(self, recorded: Recorded) -> bool:
        first, last = self._bounds
        statistics = recorded.statistics
        if recorded.topic == BarsLoaded.__name__:
            low, high = statistics.get("time", (1, 0))
            return low <= last and high >= first
        if "bar" not in FIELDS.get(recorded.topic, ()):
            return first <= recorded.recorded_at <= last
        if "bar" not in statistics:
            return False
        (low, high), (one, other) = statistics["bar"], statistics["symbol"]
        return any(
            self._names.time(symbol, int(low)) <= last and self._names.time(symbol, int(high)) >= first
            for symbol in range(int(one), int(other) + 1)
        )


def _times(event: Event, recorded: Recorded, names: PhaseNames) -> Int64:
    if isinstance(event, BarsLoaded):
        return event.time
    if "bar" not in FIELDS[recorded.topic]:
        return np.full(recorded.rows, recorded.recorded_at)
    symbol: Int16 = getattr(event, "symbol")  # noqa: B009 - a union has no common attributes
    bar: Int32 = getattr(event, "bar")  # noqa: B009
    return names.times(symbol, bar)
