"""The timeline that several symbols of a phase share: all times at which any of them has a bar."""

import numpy as np

from ..domain.errors import CorruptionError
from ..domain.events import Int16, Int32
from .recorder import DuckDBRecorder

WRITE = """
INSERT INTO data.timeline
WITH own AS (
    SELECT f.symbol, b.bar, b.time, b.close
    FROM data.feeds f JOIN data.bars b USING (stream_key) WHERE f.phase_key = $1
), times AS (
    SELECT time, row_number() OVER (ORDER BY time) - 1 AS bar FROM (SELECT DISTINCT time FROM own)
), symbols AS (SELECT symbol FROM data.feeds WHERE phase_key = $1)
SELECT $1, s.symbol, t.bar, t.time, o.bar AS own_bar, o.close
FROM times t CROSS JOIN symbols s ASOF LEFT JOIN own o ON o.symbol = s.symbol AND o.time <= t.time
ORDER BY s.symbol, t.bar
"""
READ = """
SELECT symbol, coalesce(own_bar, -1) AS own_bar FROM data.timeline WHERE phase_key = $1 ORDER BY symbol, bar
"""


class Timeline:
    """Where the bars of the symbols of a phase lie on its timeline.

    Parameters
    ----------
    stream
        The phase's stream, for messages.
    own
        Per symbol: at each place, the number of its last bar up to then, -1 before its first. None for the
        only symbol of a phase, whose bars are the timeline.
    """

    def __init__(self, stream: str, own: list[Int32] | None) -> None:
        self._stream = stream
        self._own = own
        bars = [np.arange(1 + each.max(initial=-1)) for each in own or ()]
        self._at = [
            np.searchsorted(each, own_bars).astype(np.int32)
            for each, own_bars in zip(own or (), bars, strict=True)
        ]

    @property
    def is_shared(self) -> bool:
        """Whether there are several symbols."""
        return self._own is not None

    def places(self, symbol: Int16, bar: Int32) -> Int32:
        """Return the places of bars of symbols; what belongs to no symbol, which is -1, has places itself.

        Raises
        ------
        CorruptionError
            There is no such symbol or bar.
        """
        self._require_symbols(symbol, lowest=-1)
        if self._own is None:
            return bar
        found = bar.astype(np.int32)
        for number, places in enumerate(self._at):
            found[symbol == number] = self._picked(places, number, bar[symbol == number])
        return found

    def own_bars(self, symbol: Int16, place: Int32) -> Int32:
        """Return the last bar of each symbol up to a place.

        Raises
        ------
        CorruptionError
            There is no such symbol or place.
        """
        self._require_symbols(symbol, lowest=0)
        if self._own is None:
            return place
        found = np.empty_like(place)
        for number, own in enumerate(self._own):
            found[symbol == number] = self._picked(own, number, place[symbol == number])
        return found

    def _require_symbols(self, symbol: Int16, lowest: int) -> None:
        count = 1 if self._own is None else len(self._own)
        wrong = symbol[(symbol < lowest) | (symbol >= count)]
        if wrong.size:
            raise CorruptionError(
                f"{self._stream}: a symbol must be one of the phase's {count}, found {wrong[0]}. "
                "Check the log with `admf verify`."
            )

    def _picked(self, values: Int32, symbol: int, index: Int32) -> Int32:
        wrong = index[(index < 0) | (index >= values.size)]
        if wrong.size:
            raise CorruptionError(
                f"{self._stream}: symbol {symbol} has {values.size} bars in the log, and a row names bar "
                f"{wrong[0]}. Check the log with `admf verify`."
            )
        return values[index]


def write_timeline(recorder: DuckDBRecorder, phase_key: int) -> None:
    """Write the timeline of the symbols of a phase, whose feeds and bars are there."""
    recorder.execute(WRITE, (phase_key,))


def read_timeline(recorder: DuckDBRecorder, phase_key: int, stream: str) -> Timeline:
    """Read what `write_timeline` wrote; a phase of one symbol has no such rows."""
    feeds = recorder.integer("SELECT count(*) FROM data.feeds WHERE phase_key = ?", (phase_key,)) or 0
    if feeds <= 1:
        return Timeline(stream, None)
    columns = recorder.columns(READ, (phase_key,))
    own = [columns["own_bar"][columns["symbol"] == number] for number in range(feeds)]
    return Timeline(stream, own)
