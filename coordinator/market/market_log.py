"""Market data in the log: each distinct set of bars is stored once, in a stream named after its content."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from ...domain.bars import Bars, Window, bars_from, bars_loaded
from ...domain.columns import joined, rows
from ...domain.errors import ConflictError, NotFoundError
from ...domain.events import BarsLoaded, Feed, SessionsLoaded
from ...domain.panel import Panel
from ...eventstore.codec import encode, event_digest
from ...eventstore.hashing import digest
from ...eventstore.record import Head
from ...eventstore.store import EventStore
from ..configuration.sections import PhaseSection

CHUNK = 262_144
"""Bars in one stored event."""


class MarketLog:
    """The bars that the phases of a run read: in the log, and at hand.

    Parameters
    ----------
    store
        The event store.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._bars: dict[Feed, Bars] = {}

    def keep(self, panel: Panel) -> tuple[Feed, ...]:
        """Append bars to the log, unless it holds them already, and return the feeds that name them."""
        return tuple(self._kept(bars) for bars in panel.bars)

    def _kept(self, bars: Bars) -> Feed:
        known = next((feed for feed, kept in self._bars.items() if kept is bars), None)
        if known is not None:
            return known
        events = list(_chunks(bars))
        with ThreadPoolExecutor() as pool:
            stream = bars_stream(list(pool.map(event_digest, events)))
        if not self._store.length(stream):
            # The stream is named after its content: who comes first writes the same bars.
            with suppress(ConflictError):
                encoded = [encode(event) for event in events]
                self._store.append(Head(stream), encoded, correlation_id=stream, causation_id="")
        feed = Feed(
            symbol=bars.symbol,
            timeframe=bars.timeframe,
            stream=stream,
            rows=len(bars),
            sessions=bars.sessions.day.size if bars.sessions else 0,
        )
        self._bars[feed] = bars
        return feed

    def panel(self, feeds: Sequence[Feed]) -> Panel:
        """Return the bars of feeds.

        Raises
        ------
        NotFoundError
            The log does not hold all of them.
        """
        for feed in feeds:
            if feed not in self._bars:
                self._bars[feed] = stored_bars(self._store, feed)
        return Panel([self._bars[feed] for feed in feeds])

    def window(self, section: PhaseSection, feeds: Sequence[Feed]) -> tuple[Panel, Window]:
        """Return the bars of feeds, and the window of those that a phase trades."""
        panel, data = self.panel(feeds), section.data
        return panel, panel.window(data.start, data.end) if data else panel.window()


def bars_stream(digests: Sequence[bytes]) -> str:
    """Name the stream of bars whose events have these digests."""
    return f"bars-{digest(*digests).hex()[:32]}"


def stored_bars(store: EventStore, feed: Feed) -> Bars:
    """Return the bars of a feed from the log.

    Raises
    ------
    NotFoundError
        The log does not hold all of them.
    """
    events = [recorded.event for recorded in store.read(feed.stream)]
    parts = [event for event in events if isinstance(event, BarsLoaded)]
    sessions = next((event for event in events if isinstance(event, SessionsLoaded)), None)
    found = sum(part.time.size for part in parts), sessions.day.size if sessions else 0
    if not parts or found != (feed.rows, feed.sessions):
        raise NotFoundError(
            f"the log must hold {feed.rows} bars and {feed.sessions} sessions in the stream {feed.stream}; "
            f"found {found[0]} and {found[1]}."
        )
    return bars_from(joined(parts), feed.symbol, feed.timeframe, sessions)


def _chunks(bars: Bars) -> Iterator[BarsLoaded | SessionsLoaded]:
    whole = bars_loaded(bars)
    for start in range(0, len(bars), CHUNK):
        yield rows(whole, start, start + CHUNK)
    if bars.sessions is not None:
        yield bars.sessions
