"""What a projection remembers from event to event, so that it need not ask its own tables."""

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from ..domain.errors import CorruptionError
from ..domain.events import Float64, Int16, Int32
from ..eventstore.record import Recorded
from .recorder import DuckDBRecorder
from .schema import add_metrics
from .timeline import Timeline, read_timeline

if TYPE_CHECKING:
    from .accounts import Fills

SINCE_THE_LAST_TRIALS = """
SELECT {columns} FROM data.{table}
WHERE phase_key = $1 AND n > (SELECT coalesce(max(n), 0) FROM data.trials WHERE phase_key = $1)
ORDER BY container, n
"""
PRICES = "SELECT open, high, low, close FROM data.bars WHERE stream_key = ? ORDER BY bar"
CACHED = 16
"""Feeds whose prices are kept at hand."""


class Charges(NamedTuple):
    """Interest of one phase, by container, and in order."""

    container: Int32
    symbol: Int16
    bar: Int32
    amount: Float64


class Prices(NamedTuple):
    """The bars of a feed, as far as they are in the log."""

    open: Float64
    high: Float64
    low: Float64
    close: Float64


class Phase(msgspec.Struct):
    """A phase that has started.

    Attributes
    ----------
    stream
        Its stream.
    key
        What stands for it in the tables.
    capital
        Cash of each container before its first fill.
    fill, slippage
        Of its execution: which price market orders get, and the fraction by which fills are worse.
    fills
        What was filled since its last trials; None where some of that was written before this fold began.
    charges
        The interest that was charged since then; None in the same way.
    timeline
        Its timeline, once it was asked for.
    """

    stream: str
    key: int
    capital: float
    fill: str
    slippage: float
    fills: list["Fills"] | None = None
    charges: list[Charges] | None = None
    timeline: Timeline | None = None


class Fold:
    """A projection in progress; of no use any more once a transaction was rolled back.

    Parameters
    ----------
    recorder
        Where rows are written.
    """

    def __init__(self, recorder: DuckDBRecorder) -> None:
        self.recorder = recorder
        self._phases: dict[str, Phase] = {}
        self._metrics: set[str] = set()
        self._feeds: dict[tuple[int, int], int | None] = {}
        self._prices: dict[int, Prices] = {}

    def start(self, phase: Phase) -> None:
        """Remember a phase from its start on."""
        self._phases[phase.stream] = phase

    def phase(self, recorded: Recorded) -> Phase:
        """Return the phase that an event belongs to.

        Raises
        ------
        CorruptionError
            It never started.
        """
        if recorded.stream not in self._phases:
            sql = "SELECT phase_key, capital, fill, slippage FROM data.phases WHERE stream = ?"
            match self.recorder.one(sql, (recorded.stream,)):
                case (int(key), float(capital), str(fill), float(slippage)):
                    self.start(Phase(recorded.stream, key, capital, fill, slippage))
                case _:
                    raise CorruptionError(
                        f"{recorded.address}: {recorded.topic} must come after the PhaseStarted of its "
                        "stream, found none. Check the log with `admf verify`."
                    )
        return self._phases[recorded.stream]

    def take_fills(self, phase: Phase) -> list["Fills"]:
        """Return what was filled since the last trials of a phase, whose next trials have come."""
        from .accounts import Fills

        taken, phase.fills, phase.charges = phase.fills, [], []
        if taken is None:
            self.recorder.flush()
            sql = SINCE_THE_LAST_TRIALS.format(columns="* EXCLUDE phase_key", table="fills")
            taken = [Fills(**self.recorder.columns(sql, (phase.key,)))]
        return taken

    def charges(self, phase: Phase) -> list[Charges]:
        """Return the interest that was charged since the last trials of a phase."""
        if phase.charges is None:
            self.recorder.flush()
            columns = ", ".join(Charges._fields)
            sql = SINCE_THE_LAST_TRIALS.format(columns=columns, table="interest")
            phase.charges = [Charges(**self.recorder.columns(sql, (phase.key,)))]
        return phase.charges

    def timeline(self, phase: Phase) -> Timeline:
        """Return the timeline of a phase."""
        if phase.timeline is None:
            phase.timeline = read_timeline(self.recorder, phase.key, phase.stream)
        return phase.timeline

    def close(self, phase: Phase, symbol: int, bar: int) -> float:
        """Return the close of a bar that a phase read.

        Raises
        ------
        CorruptionError
            There is no such bar.
        """
        closes = self.prices(phase, symbol).close
        if not 0 <= bar < closes.size:
            raise CorruptionError(
                f"bar {bar} of symbol {symbol} must come before the trials of {phase.stream} that end with "
                "it, and is not in the log. Check the log with `admf verify`."
            )
        return float(closes[bar])

    def prices(self, phase: Phase, symbol: int) -> Prices:
        """Return the bars of a symbol of a phase, as far as they are in the log."""
        feed = phase.key, symbol
        if feed not in self._feeds:
            sql = "SELECT stream_key FROM data.feeds WHERE phase_key = ? AND symbol = ?"
            self._feeds[feed] = self.recorder.integer(sql, feed)
        key = self._feeds[feed]
        if key is None:
            return Prices(*np.empty((4, 0)))
        if key not in self._prices:
            if len(self._prices) >= CACHED:
                self._prices.clear()
            self._prices[key] = Prices(**self.recorder.columns(PRICES, (key,)))
        return self._prices[key]

    def add_metrics(self, names: set[str]) -> None:
        """Make sure that `portfolio_metrics` has columns for these metrics."""
        if not names <= self._metrics:
            add_metrics(self.recorder, names)
            self._metrics |= names
