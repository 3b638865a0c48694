"""The trials of an earlier phase, with their returns bar by bar, for a phase that analyzes them.

Returns follow from the fills and charges in that phase's stream, and from its bars. They are kept as sums
over blocks, shard by shard, so that a study of many trials needs no more memory than one of a few.
"""

import msgspec
import numpy as np

from ..domain.desk import CHARGE, FILL
from ..domain.equity_curve import equity_returns
from ..domain.errors import ConfigurationError
from ..domain.events import (
    Feed,
    Float64,
    InterestCharged,
    OrdersFilled,
    PhaseOutput,
    PhaseStarted,
    TrialsCompleted,
)
from ..domain.market import Market
from ..domain.measurement import mark_to_market
from ..domain.panel import Panel
from ..domain.statistics.overfitting import BlockSums, block_sums
from ..domain.statistics.sharpe import record_of
from .configuration import AnalysisSection, PhaseSection
from .records import records_of
from .trace_query import TraceQuery


class EarlierTrials(msgspec.Struct, frozen=True):
    """What an earlier phase tried.

    Attributes
    ----------
    output
        What it handed on.
    ratios
        Sharpe ratio per bar of each trial, 0 for one that never varied, shape (n_trials,).
    best
        Returns of its best trial, shape (n_bars,).
    sums
        Returns of all trials in blocks.
    """

    output: PhaseOutput
    ratios: Float64
    best: Float64
    sums: BlockSums


def read_trials(
    trace: TraceQuery, run: str, section: PhaseSection, feeds: tuple[Feed, ...], panel: Panel
) -> EarlierTrials:
    """Read the trials that a phase analyzes from the stream of the earlier phase.

    Raises
    ------
    NotFoundError
        The earlier phase has not ended well.
    ConfigurationError
        The earlier phase can't be analyzed: see `require_analyzable`; or it read other bars.
    """
    name = section.inherit_best_from
    stream, output = trace.stream(run, name), trace.get_phase_output(run, name)
    for recorded in trace.events(stream, PhaseStarted.__name__):
        if isinstance(started := recorded.event, PhaseStarted):
            require_analyzable(section, PhaseSection.model_validate_json(started.configuration))
            if started.feeds != feeds:
                raise ConfigurationError(
                    f"phase {section.name!r} must read the bars that {name!r} read, whose trials it "
                    "analyzes, and would read others; run that phase again, too."
                )
    best = output.best.container if output.best else -1
    reader = _Reader(section, panel, best)
    for recorded in trace.events(stream):
        event = recorded.event
        if isinstance(event, OrdersFilled):
            reader.fills.append(event)
        elif isinstance(event, InterestCharged):
            reader.charges.append(event)
        elif isinstance(event, TrialsCompleted):
            reader.take(event)
    return reader.trials(output)


class _Reader:
    """Turns shards into returns, one after the other."""

    def __init__(self, section: PhaseSection, panel: Panel, best: int) -> None:
        self._blocks = (section.analysis or AnalysisSection()).blocks
        self._capital = section.capital
        self._panel = panel
        self._prices = Market(panel, ()).prices
        self._best = best
        self._ratios: list[Float64] = []
        self._sums: list[BlockSums] = []
        self._found = np.empty(0)
        self.fills: list[OrdersFilled] = []
        self.charges: list[InterestCharged] = []

    def take(self, trials: TrialsCompleted) -> None:
        """Measure the trials at the end of a shard."""
        returns = self._returns(trials)
        self._ratios.append(np.array([record_of(row).ratio for row in returns]))
        self._sums.append(block_sums(returns, self._blocks))
        for row in np.flatnonzero(trials.container == self._best).tolist():
            self._found = returns[row].copy()
        self.fills.clear()
        self.charges.clear()

    def trials(self, output: PhaseOutput) -> EarlierTrials:
        sums = BlockSums(
            self._sums[0].bars,
            np.concatenate([part.total for part in self._sums]),
            np.concatenate([part.squares for part in self._sums]),
        )
        return EarlierTrials(output, np.nan_to_num(np.concatenate(self._ratios)), self._found, sums)

    def _returns(self, trials: TrialsCompleted) -> Float64:
        filled, fill_ends = records_of(
            self._panel, self.fills, trials.container, FILL, ("quantity", "price", "fee")
        )
        charged, charge_ends = records_of(self._panel, self.charges, trials.container, CHARGE, ("amount",))
        first, bars = int(trials.first_bar[0]), int(trials.stop_bar[0] - trials.first_bar[0])
        returns, equity = np.empty((trials.container.size, bars)), np.empty(bars)
        fill = charge = 0
        for row, (fill_end, charge_end) in enumerate(
            zip(fill_ends.tolist(), charge_ends.tolist(), strict=True)
        ):
            own = filled[fill:fill_end], charged[charge:charge_end]
            mark_to_market(self._prices, first, *own, self._capital, equity)
            returns[row] = equity_returns(self._capital, equity)
            fill, charge = fill_end, charge_end
        return returns


def require_analyzable(section: PhaseSection, source: PhaseSection) -> None:
    """Check that a phase can analyze the trials of another.

    Raises
    ------
    ConfigurationError
        The other phase is no search over one period, keeps no fills, or has another period.
    """
    where, name = f"phase {section.name!r}", source.name
    if source.type != "optimization":
        raise ConfigurationError(
            f"{where}.of: {name!r} must be a phase of type 'optimization', whose trials all trade one "
            f"period; it is of type {source.type!r}."
        )
    if source.log == "metrics":
        raise ConfigurationError(
            f"{where}.of: the phase {name!r} must log its fills, from which returns follow; give it "
            "`log: fills` or `log: full`, was `log: metrics`."
        )
    if section.data != source.data or section.capital != source.capital:
        raise ConfigurationError(
            f"{where}: data and capital must be those of {name!r}, whose trials it analyzes; leave them out."
        )
