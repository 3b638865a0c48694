"""Which regime the market was in, bar by bar, and what the trials of an earlier phase came to in each."""

from typing import NamedTuple

import msgspec
import numpy as np

from ...domain.bars import Window
from ...domain.errors import ConfigurationError
from ...domain.events import Int8, Int64, PhaseOutput, Regime, Trial, TrialsCompleted
from ...domain.portfolio import Trades, round_trips_of_containers, settle_containers
from ...domain.regimes.classifiers import CLASSIFIERS
from ...domain.regimes.performance import (
    Entries,
    RegimeSums,
    joined_sums,
    known_before,
    regime_sums,
    sharpe_by_regime,
)
from ...domain.topology import Containers, Topology
from ..configuration.classifier_section import ClassifierSection
from ..configuration.sections import PhaseSection
from ..streams.earlier_trials import EarlierPhase, Shard
from .classification import require_classifiable
from .context import PhaseContext, trial_at
from .evidence import analyzed, concluded, planned_for_analysis

LEAST_BARS, LEAST_TRADES = 60, 10
"""What a regime must have unless the phase says otherwise."""


def plan_regime_analysis(
    section: PhaseSection,
    topology: Topology,  # noqa: ARG001
    window: Window,
) -> Containers:
    """Plan nothing: an analysis reads trials, and simulates none."""
    where, planned = f"phase {section.name!r}", planned_for_analysis(section, window)
    require_classifiable(section, _classifier(section), f"{where}.classifier")
    return planned


class _Tried(NamedTuple):
    """All trials, with their sums in each regime."""

    trials: list[TrialsCompleted]
    sums: RegimeSums

    def trial(self, row: int) -> Trial:
        for part in self.trials:
            if row < part.container.size:
                return trial_at(part, row)
            row -= part.container.size
        raise IndexError(row)


def regime_analysis(context: PhaseContext) -> PhaseOutput:
    """Classify bars, and tell which parameters did best in each regime.

    The classifier is fitted to the bars from the start of the period to ``fit.end``. A bar and a trade count
    for the regime that was known before them.
    """
    earlier, best = analyzed(context)
    if context.classification is None:
        raise ConfigurationError(f"phase {context.section.name!r}: there is no classifier.")
    names, labels, fitted, _ = context.classification
    known = known_before(labels, context.window.first)
    tried = _tried(earlier, known, context.window, len(names))
    bars = np.bincount(known[known >= 0], minlength=len(names))
    regimes = _regimes(context, tried, best.container, bars, names)
    overall = {f"{regime.name}.{name}": each for regime in regimes for name, each in regime.metrics.items()}
    found = concluded(context, {**fitted, **overall}, _verdict(regimes))
    return msgspec.structs.replace(found, regimes=regimes)


def _classifier(section: PhaseSection) -> ClassifierSection:
    if section.classifier is None:
        raise ConfigurationError(
            f"phase {section.name!r}: state how regimes are told, as in `classifier: {{type: volatility}}`; "
            f"types are {', '.join(CLASSIFIERS)}."
        )
    return section.classifier


def _tried(earlier: EarlierPhase, known: Int8, window: Window, regimes: int) -> _Tried:
    trials: list[TrialsCompleted] = []
    sums: list[RegimeSums] = []
    for shard in earlier.shards():
        trials.append(shard.trials)
        sums.append(regime_sums(shard.returns, _entries(shard, window.first), known, regimes))
    return _Tried(trials, joined_sums(sums))


def _entries(shard: Shard, first: int) -> Entries:
    """Return the trades of a shard; bars count from the first one of the window."""
    starts = np.concatenate((np.zeros(1, np.int64), shard.fill_ends))
    quantity, price, fee = (np.ascontiguousarray(shard.fills[name]) for name in ("quantity", "price", "fee"))
    position, cash = np.empty_like(quantity), np.empty_like(quantity)
    settle_containers(starts, quantity, price, fee, 0.0, position, cash)
    trades, mark = Trades.empty(quantity.size), np.full(starts.size - 1, np.nan)
    count = round_trips_of_containers(starts, quantity, price, fee, position, mark, trades)
    opened = trades.entry_fill[:count]
    row = np.searchsorted(shard.fill_ends, opened, side="right")
    return Entries(row, shard.fills["bar"][opened].astype(np.int64) - first, trades.pnl[:count])


def _regimes(
    context: PhaseContext, tried: _Tried, best: int, bars: Int64, names: tuple[str, ...]
) -> tuple[Regime, ...]:
    section = context.section
    least_bars = LEAST_BARS if section.minimum_bars is None else section.minimum_bars
    least_trades = LEAST_TRADES if section.minimum_trades is None else section.minimum_trades
    ratios = sharpe_by_regime(tried.sums, bars, context.topology.bars_per_year)
    wins = np.where(tried.sums.closed > 0, tried.sums.wins / np.maximum(tried.sums.closed, 1), np.nan)

    def metrics(row: int, regime: int) -> dict[str, float]:
        return {
            "bars": float(bars[regime]),
            "trades": float(tried.sums.trades[row, regime]),
            "sharpe_ratio": float(ratios[row, regime]),
            "total_return": float(tried.sums.growth[row, regime] - 1.0),
            "max_drawdown": float(tried.sums.drawdown[row, regime]),
            "win_rate": float(wins[row, regime]),
        }

    found: list[Regime] = []
    for regime, name in enumerate(names):
        most, shortfall, chosen = int(tried.sums.trades[:, regime].max()), "", None
        fit = (tried.sums.trades[:, regime] >= least_trades) & np.isfinite(ratios[:, regime])
        if bars[regime] < least_bars:
            shortfall = f"too few bars: {bars[regime]:,}, at least {least_bars:,} are wanted"
        elif most < least_trades:
            shortfall = f"too few trades: at most {most:,} in a trial, at least {least_trades:,} are wanted"
        elif not fit.any():
            shortfall = "no trial has returns that vary"
        else:
            row = int(np.argmax(np.where(fit, ratios[:, regime], -np.inf)))
            trial = tried.trial(row)
            chosen = Trial(
                container=trial.container, parameters=trial.parameters, metrics=metrics(row, regime)
            )
        found.append(
            Regime(
                name=name,
                bars=int(bars[regime]),
                metrics=metrics(best, regime),
                best=chosen,
                shortfall=shortfall,
            )
        )
    return tuple(found)


def _verdict(regimes: tuple[Regime, ...]) -> str:
    """Say in plain words which parameters did best in each regime, and where there is too little to tell."""
    parts: list[str] = []
    for regime in regimes:
        if regime.best is None:
            parts.append(f"{regime.name}: {regime.shortfall}.")
            continue
        chosen = ", ".join(f"{name}={value}" for name, value in regime.best.parameters.items())
        figures = regime.best.metrics
        parts.append(
            f"{regime.name}: {chosen or 'the one trial'} is best, with a Sharpe ratio of "
            f"{figures['sharpe_ratio']:.2f} over {regime.bars:,} bars and {figures['trades']:,.0f} trades."
        )
    return " ".join(parts)
