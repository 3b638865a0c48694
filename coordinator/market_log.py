"""Market data in the log: each distinct set of bars is stored once, in a stream named after its content."""

from collections.abc import Iterator

from ..domain.bars import Bars, bars_from, bars_loaded
from ..domain.columns import joined, rows
from ..domain.errors import ConflictError, NotFoundError
from ..domain.events import BarsLoaded, Feed
from ..eventstore.codec import EncodedEvent, encode
from ..eventstore.hashing import digest
from ..eventstore.record import Head
from ..eventstore.store import EventStore

CHUNK = 262_144
"""Bars in one stored event."""


def store_bars(store: EventStore, bars: Bars) -> Feed:
    """Append bars to the log, unless it holds them already, and return the feed that names them."""
    events = list(_encoded(bars))
    stream = f"bars-{digest(*(event.digest for event in events)).hex()[:32]}"
    head = store.head(stream)
    if head.version == 0:
        try:
            head = store.append(Head(stream), events, correlation_id=stream, causation_id="")
        except ConflictError:
            # The stream is named after its content: whoever came first wrote the same bars.
            head = store.head(stream)
    return Feed(symbol=bars.symbol, timeframe=bars.timeframe, stream=stream, rows=head.rows)


def stored_bars(store: EventStore, feed: Feed) -> Bars:
    """Return the bars of a feed from the log.

    Raises
    ------
    NotFoundError
        The log does not hold all of them.
    """
    parts = [event for recorded in store.read(feed.stream) if isinstance(event := recorded.event, BarsLoaded)]
    if sum(part.time.size for part in parts) != feed.rows:
        raise NotFoundError(f"the log must hold {feed.rows} bars in the stream {feed.stream}, and does not.")
    return bars_from(joined(parts), feed.symbol, feed.timeframe)


def _encoded(bars: Bars) -> Iterator[EncodedEvent]:
    whole = bars_loaded(bars)
    for start in range(0, len(bars), CHUNK):
        yield encode(rows(whole, start, start + CHUNK))
