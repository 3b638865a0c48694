"""The trials of an earlier phase, with their returns bar by bar, for a phase that analyzes them.

Returns follow from the fills and charges in that phase's stream, and from its bars. They are kept as sums
over blocks, shard by shard, so that a study of many trials needs no more memory than one of a few.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np

from ...domain.desk import CHARGE, FILL, Prices, Records
from ...domain.equity_curve import equity_returns
from ...domain.errors import ConfigurationError
from ...domain.events import (
    Feed,
    Float64,
    Int64,
    InterestCharged,
    OrdersFilled,
    PhaseOutput,
    TrialsCompleted,
)
from ...domain.market import Market
from ...domain.measurement import mark_to_market
from ...domain.panel import Panel
from ...domain.statistics.overfitting import BlockSums, block_sums
from ...domain.statistics.sharpe import record_of
from ..configuration.sections import PhaseSection
from .earlier_signals import earlier_stream
from .records import records_of
from .trace_query import TraceQuery

OF_SEARCHES = ("analysis", "convergence", "pattern_discovery", "regime_analysis")
"""Types of phases that compare the trials of a search; others look at one trial."""

OF_ANY_ACCOUNT = ("risk_assessment",)
"""Those to which it makes no difference whether an account traded the tests of walk-forward folds."""

WITHOUT_FILLS = ("convergence", "pattern_discovery")
"""Those to which metrics are enough."""


class Shard(NamedTuple):
    """Trials that were simulated together.

    Attributes
    ----------
    trials
        They themselves.
    returns
        Returns of each trial at each bar, shape (n_trials, n_bars).
    fills, fill_ends
        Their fills, trial after trial, and the row after the last one of each.
    """

    trials: TrialsCompleted
    returns: Float64
    fills: Records
    fill_ends: Int64


class EarlierPhase(msgspec.Struct, frozen=True):
    """A phase that another one analyzes: what it handed on, and a way to read its shards in order.

    Given a container, only the shard that it is in is measured.
    """

    output: PhaseOutput
    shards: Callable[..., Iterator[Shard]]


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


def read_earlier(
    trace: TraceQuery, run: str, section: PhaseSection, feeds: tuple[Feed, ...], panel: Panel
) -> EarlierPhase:
    """Find the phase that another one analyzes.

    Raises
    ------
    NotFoundError
        The earlier phase has not ended well.
    ConfigurationError
        The earlier phase can't be analyzed: see `require_analyzable`; or it read other bars.
    """
    name = section.inherit_best_from
    stream = earlier_stream(trace, run, section, name, feeds, require_analyzable)
    output = trace.get_phase_output(run, name)
    return EarlierPhase(output, partial(shards_in, trace, stream, section.capital, panel))


def measured(earlier: EarlierPhase, blocks: int) -> EarlierTrials:
    """Measure every trial, and sum its returns over so many blocks of bars."""
    best = earlier.output.best.container if earlier.output.best else -1
    ratios: list[Float64] = []
    sums: list[BlockSums] = []
    found = np.empty(0)
    for shard in earlier.shards():
        ratios.append(np.array([record_of(row).ratio for row in shard.returns]))
        sums.append(block_sums(shard.returns, blocks))
        for row in np.flatnonzero(shard.trials.container == best).tolist():
            found = shard.returns[row].copy()
    joined_sums = BlockSums(
        sums[0].bars,
        np.concatenate([part.total for part in sums]),
        np.concatenate([part.squares for part in sums]),
    )
    return EarlierTrials(earlier.output, np.nan_to_num(np.concatenate(ratios)), found, joined_sums)


def shards_in(
    trace: TraceQuery, stream: str, capital: float, panel: Panel, container: int | None = None
) -> Iterator[Shard]:
    """Read the shards in the stream of a phase that logs its fills, with the returns of each trial."""
    prices = Market(panel, ()).prices
    fills: list[OrdersFilled] = []
    charges: list[InterestCharged] = []
    for recorded in trace.events(stream):
        event = recorded.event
        if isinstance(event, OrdersFilled):
            fills.append(event)
        elif isinstance(event, InterestCharged):
            charges.append(event)
        elif isinstance(event, TrialsCompleted) and container not in (None, *event.container.tolist()):
            fills.clear()
            charges.clear()
        elif isinstance(event, TrialsCompleted):
            columns = ("quantity", "price", "fee")
            filled, fill_ends = records_of(panel, fills, event.container, FILL, columns)
            charged, charge_ends = records_of(panel, charges, event.container, CHARGE, ("amount",))
            ends = fill_ends.tolist(), charge_ends.tolist()
            yield Shard(event, _returns(prices, event, (filled, charged), ends, capital), filled, fill_ends)
            fills.clear()
            charges.clear()


def _returns(
    prices: Prices,
    trials: TrialsCompleted,
    records: tuple[Records, Records],
    ends: tuple[list[int], list[int]],
    capital: float,
) -> Float64:
    filled, charged = records
    first, bars = int(trials.first_bar[0]), int(trials.stop_bar[0] - trials.first_bar[0])
    returns, equity = np.empty((trials.container.size, bars)), np.empty(bars)
    position = np.empty(prices.grid.shape[1])
    fill = charge = 0
    for row, (fill_end, charge_end) in enumerate(zip(*ends, strict=True)):
        own = filled[fill:fill_end], charged[charge:charge_end]
        mark_to_market(prices, first, *own, capital, position, equity)
        returns[row] = equity_returns(capital, equity)
        fill, charge = fill_end, charge_end
    return returns


def require_analyzable(section: PhaseSection, source: PhaseSection) -> None:
    """Check that a phase can analyze the trials of another.

    Raises
    ------
    ConfigurationError
        The other phase is no search, has folds, keeps no fills, or has another period.
    """
    where, name = f"phase {section.name!r}", source.name
    if section.type in OF_SEARCHES and source.type != "optimization":
        raise ConfigurationError(
            f"{where}.of: {name!r} must be a phase of type 'optimization', whose trials all trade one "
            f"period; it is of type {source.type!r}. Add a phase that carries out its search over the whole "
            "period, and name that."
        )
    if source.cross_validation or (source.walk_forward and section.type not in OF_ANY_ACCOUNT):
        raise ConfigurationError(
            f"{where}.of: the phase {name!r} has folds, each with its own period; name a phase without, such "
            "as the same search over the whole period."
        )
    if source.log == "metrics" and section.type not in WITHOUT_FILLS:
        raise ConfigurationError(
            f"{where}.of: the phase {name!r} must log its fills, from which returns follow; give it "
            "`log: fills` or `log: full`, was `log: metrics`."
        )
    if section.data != source.data or section.capital != source.capital:
        raise ConfigurationError(
            f"{where}: data and capital must be those of {name!r}, whose trials it analyzes; leave them out."
        )
