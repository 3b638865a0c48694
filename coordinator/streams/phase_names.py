from functools import cached_property

import numpy as np

from ...domain.bars import iso_time
from ...domain.events import BarsLoaded, Int16, Int32, Int64, PhaseStarted
from ...eventstore.store import EventStore


class PhaseNames:
    """What a phase calls its symbols and strategies, and the times of its bars; read when first asked for.

    Parameters
    ----------
    store, stream
        The stream of the phase. That of a workflow, or of bars, has no names.
    """

    def __init__(self, store: EventStore, stream: str) -> None:
        self._store = store
        self._stream = stream
        self._times: dict[int, Int64] = {}

    @cached_property
    def started(self) -> PhaseStarted | None:
        """The event by which the phase began."""
        for recorded in self._store.read(self._stream, topics=(PhaseStarted.__name__,)):
            if isinstance(event := recorded.event, PhaseStarted):
                return event
        return None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names of the symbols by their numbers."""
        return tuple(feed.symbol for feed in self.started.feeds) if self.started else ()

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies by their numbers."""
        return self.started.strategies if self.started else ()

    def times(self, symbol: Int16, bar: Int32) -> Int64:
        """Return the times of bars, nanoseconds since 1970 in UTC; of symbol -1, places on the timeline."""
        times = np.empty(bar.size, np.int64)
        for number in np.unique(symbol).tolist():
            rows = symbol == number
            times[rows] = self._times_of(number)[bar[rows]]
        return times

    def time(self, symbol: int, bar: int) -> int:
        """Return the time of a bar, nanoseconds since 1970 in UTC; after the last, that of the last."""
        times = self._times_of(symbol)
        return int(times[min(bar, times.size - 1)])

    def iso_time(self, symbol: int, bar: int) -> str:
        """Return the time of a bar, ISO 8601 in UTC."""
        return iso_time(self.time(symbol, bar))

    def _times_of(self, symbol: int) -> Int64:
        feeds = self.started.feeds if self.started else ()
        if symbol not in self._times and symbol < 0:
            self._times[symbol] = np.unique(np.concatenate([self._times_of(i) for i in range(len(feeds))]))
        elif symbol not in self._times:
            bars = self._store.read(feeds[symbol].stream, topics=(BarsLoaded.__name__,))
            parts = [event.time for recorded in bars if isinstance(event := recorded.event, BarsLoaded)]
            self._times[symbol] = np.concatenate(parts)
        return self._times[symbol]
