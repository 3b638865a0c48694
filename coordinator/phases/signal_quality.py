"""Whether the signals of an earlier phase are of any use, and what its trades went through."""

from typing import NamedTuple

import numpy as np

from ...domain.bars import Window
from ...domain.errors import ConfigurationError
from ...domain.events import Bool, Float64, Int8, Int64, PhaseOutput
from ...domain.statistics.signal_edge import (
    APART,
    Edge,
    Views,
    edge_of,
    forward_returns,
    rank_correlation,
)
from ...domain.topology import Containers, Topology
from ..configuration.sections import PhaseSection
from .classification import require_classifiable
from .context import PhaseContext
from .evidence import best_trial, concluded, planned_for_analysis, trades_in

HORIZONS = (1, 5, 10, 20)
"""Bars after a signal at which it is looked at."""
SURE = 2.5
"""The t-statistic that chance exceeds at one of four horizons with a probability of 5%."""


def plan_signal_quality(section: PhaseSection, topology: Topology, window: Window) -> Containers:  # noqa: ARG001
    """Plan nothing: an analysis reads signals, and simulates none."""
    if section.classifier:
        require_classifiable(section, section.classifier, f"phase {section.name!r}.classifier")
    return planned_for_analysis(section, window)


class _Emitted(NamedTuple):
    """Changes of a strategy's exposure in one symbol: bars of the symbol, and the exposure from then on."""

    symbol: int
    bar: Int64
    target: Float64


def signal_quality(context: PhaseContext) -> PhaseOutput:
    """Measure each strategy's signals in the best trial, and the closed trades of that trial.

    With a classifier both are measured in each regime, too: a signal counts for the regime that was known at
    its close, a trade for that known before its entry.
    """
    if context.source is None or context.source.signals.bar.size == 0:
        raise ConfigurationError(
            f"phase {context.section.name!r}: {context.section.inherit_best_from!r} emitted no signals."
        )
    told = context.classification
    names, labels = (told.names, told.labels) if told else ((), np.empty(0, np.int8))
    trades, best = trades_in(context, best_trial(context)), context.source.signals
    figures: dict[str, float] = {}
    parts: list[str] = []
    for number, slot in enumerate(context.topology.slots):
        emitted = []
        for symbol in np.unique(best.symbol[best.strategy == number]).tolist():
            own = (best.strategy == number) & (best.symbol == symbol)
            emitted.append(_Emitted(symbol, best.bar[own].astype(np.int64), best.target[own]))
        figures |= {f"{slot.name}.signals": float(sum(each.bar.size for each in emitted))}
        if not emitted:
            parts.append(f"{slot.name}: there are no signals.")
            continue
        found = _edges(context, emitted, names, labels)
        figures |= {f"{slot.name}.{name}": value for name, value in _by_name(found).items()}
        parts.append(f"{slot.name}: {_said({bars: found['', bars][0] for bars in HORIZONS})}")
    figures |= {f"trades.{name}": value for name, value in trades.figures().items()}
    known = np.concatenate((np.full(1, -1, np.int8), labels))[trades.entry] if names else labels
    for regime, name in enumerate(names):
        inside = trades.at(known == regime).figures()
        figures |= {f"trades.{name}.{each}": value for each, value in inside.items()}
    if trades.entry.size:
        parts.append(
            f"{trades.entry.size:,} trades were held for {figures['trades.bars']:.1f} bars; at best they "
            f"were {figures['trades.mfe']:.2%} ahead, at worst {figures['trades.mae']:.2%} behind, a ratio "
            f"of {figures['trades.edge_ratio']:.2f}."
        )
    return concluded(context, figures, " ".join(parts))


def _edges(
    context: PhaseContext, emitted: list[_Emitted], names: tuple[str, ...], labels: Int8
) -> dict[tuple[str, int], tuple[Edge, float]]:
    """Measure the signals of one strategy by regime (or none) and horizon: edge, information coefficient."""
    found: dict[tuple[str, int], tuple[Edge, float]] = {}
    for horizon in HORIZONS:
        views: list[Views] = []
        exposures: list[Float64] = []
        ahead: list[Float64] = []
        for each in emitted:
            close, own = context.panel.bars[each.symbol].close, context.panel.own[each.symbol]
            returns = forward_returns(close, horizon)
            first = int(own[context.window.first - 1]) + 1 if context.window.first else 0
            side, takes = np.sign(each.target), each.target != 0.0
            drift = float(np.nanmean(returns[first:])) if returns.size - first > horizon else np.nan
            bar = each.bar[takes]
            views.append(
                Views(bar + each.symbol * APART, (returns[each.bar] * side)[takes], drift * side[takes])
            )
            place = np.searchsorted(each.bar, np.arange(each.bar[0], close.size), side="right") - 1
            exposures.append(each.target[place])
            ahead.append(returns[each.bar[0] :])
        joined = Views(*(np.concatenate(column) for column in zip(*views, strict=True)))
        exposure, later = np.concatenate(exposures), np.concatenate(ahead)
        found["", horizon] = edge_of(joined, horizon), rank_correlation(exposure, later)
        for regime, name in enumerate(names):
            inside: Bool = labels[joined.bar] == regime
            within = labels[emitted[0].bar[0] :] == regime
            edge = edge_of(joined.at(inside), horizon)
            found[name, horizon] = edge, rank_correlation(exposure[within], later[within])
    return found


def _by_name(found: dict[tuple[str, int], tuple[Edge, float]]) -> dict[str, float]:
    return {
        f"{f'{regime}.' if regime else ''}after_{horizon:02}.{name}": value
        for (regime, horizon), (edge, coefficient) in found.items()
        for name, value in (*edge._asdict().items(), ("information_coefficient", coefficient))
    }


def _said(edges: dict[int, Edge]) -> str:
    """Say in plain words whether signals are ahead of the drift, and when most."""
    known = {bars: edge for bars, edge in edges.items() if np.isfinite(edge.t_statistic)}
    if not known:
        return "there are too few signals to tell."
    bars = max(known, key=lambda each: known[each].t_statistic)
    widest = max(known, key=lambda each: known[each].excess_return)
    edge = known[bars]
    found = "signals tell the direction" if edge.t_statistic >= SURE else "signals are no better than chance"
    return (
        f"{found}. After {bars} bars {edge.measured:,.0f} of them are ahead of the drift by "
        f"{edge.excess_return:.2%} on average (t-statistic {edge.t_statistic:.1f}, {SURE} is wanted), "
        f"and {edge.hit_rate:.0%} gained; of {', '.join(map(str, HORIZONS))} bars they are ahead most "
        f"after {widest}."
    )
