"""What could be lost: the risk of the best trial of an earlier phase, and of a year like those behind it."""

import numpy as np

from ...domain.bars import Window
from ...domain.equity_curve import daily_returns, monthly_returns, tail_risk
from ...domain.events import Float64, PhaseOutput
from ...domain.statistics.bootstrap import max_drawdowns
from ...domain.statistics.outlook import Outlook, resampled_outlook, reshuffled_outlook
from ...domain.topology import Containers, Topology
from ..configuration.analysis_sections import ResamplingSection, TolerableSection
from ..configuration.sections import PhaseSection
from .context import PhaseContext
from .evidence import BestTrial, best_trial, concluded, planned_for_analysis, trades_in

RUIN = 0.5
"""The part of the capital that is left after ruin."""


def plan_risk_assessment(section: PhaseSection, topology: Topology, window: Window) -> Containers:  # noqa: ARG001
    """Plan nothing: an analysis reads trials, and simulates none."""
    return planned_for_analysis(section, window)


def risk_assessment(context: PhaseContext) -> PhaseOutput:
    """Measure the risk of the best trial, and simulate years from its days and from its trades.

    Days are resampled in blocks, so that bad ones stay together; as many trades as a year has are reshuffled,
    each with what it made of the equity at its entry. Both must stay within the limits.
    """
    section = context.section
    wanted, limits = section.monte_carlo or ResamplingSection(), section.limits or TolerableSection()
    best, capital = best_trial(context), section.capital
    time, equity = context.panel.time[best.window.first : best.window.stop], best.equity(capital)
    days = daily_returns(time, equity, capital)
    year = max(1, round(context.topology.bars_per_year * days.size / equity.size))
    tails = tail_risk(days, cutoff=1.0 - wanted.level)
    seed = wanted.seed or 0
    resampled = resampled_outlook(days, year, seed=seed, samples=wanted.samples, block=wanted.block)
    trades = _returns_of_trades(context, best)
    figures = {
        "days": float(days.size),
        "value_at_risk": tails.value_at_risk,
        "conditional_value_at_risk": tails.conditional_value_at_risk,
        "tail_ratio": tails.tail_ratio,
        "worst_day": float(days.min()),
        "worst_month": min(month.value for month in monthly_returns(time, equity, capital)),
        "max_drawdown": float(max_drawdowns(days[np.newaxis])[0]),
        "exposure": best.trial.metrics["exposure"],
        "trades": float(trades.size),
    }
    figures |= _figures("resampled_days", resampled, limits, wanted.level)
    if trades.size:
        held = max(1, min(trades.size, round(trades.size * year / days.size)))
        shuffled = reshuffled_outlook(trades, held, seed=seed, samples=wanted.samples)
        figures |= _figures("reshuffled_trades", shuffled, limits, wanted.level)
    probabilities = [value for name, value in figures.items() if name.endswith(".drawdown_probability")]
    figures["passed"] = float(max(probabilities) <= limits.probability)
    return concluded(context, figures, _verdict(figures, limits, wanted.level))


def _returns_of_trades(context: PhaseContext, best: BestTrial) -> Float64:
    """Return what each closed trade made of the equity at the close before its entry."""
    record = trades_in(context, best)
    before = np.concatenate(([context.section.capital], best.equity(context.section.capital)))
    at_entry = before[record.entry - best.window.first]
    alive = at_entry > 0.0
    returns: Float64 = record.profit[alive] / at_entry[alive]
    return returns


def _figures(name: str, outlook: Outlook, limits: TolerableSection, level: float) -> dict[str, float]:
    middle, high = np.quantile(outlook.drawdown, [0.5, level])
    found = {
        "drawdown_median": float(middle),
        "drawdown_high": float(high),
        "drawdown_probability": float(np.mean(outlook.drawdown > limits.max_drawdown / 100.0)),
        "ruin_probability": float(np.mean(outlook.lowest <= RUIN)),
        "loss_probability": float(np.mean(outlook.final < 0.0)),
    }
    return {f"{name}.{key}": value for key, value in found.items()}


def _verdict(figures: dict[str, float], limits: TolerableSection, level: float) -> str:
    within = "Within" if figures["passed"] else "Beyond"
    by_days = figures["resampled_days.drawdown_probability"]
    by_trades = figures.get("reshuffled_trades.drawdown_probability")
    trades = (
        "; there are no closed trades to reshuffle" if by_trades is None else f", {by_trades:.1%} by trades"
    )
    return (
        f"{within} the limits: a drawdown of more than {limits.max_drawdown:g}% in a year has a probability "
        f"of {by_days:.1%} by resampled days{trades} (at most {limits.probability:.1%} is wanted). With "
        f"{level:.0%} it stays below {figures['resampled_days.drawdown_high']:.1%}. Half of the capital is "
        f"lost with a probability of {figures['resampled_days.ruin_probability']:.1%}. One day in "
        f"{1.0 / (1.0 - level):.0f} returns less than {figures['value_at_risk']:.2%}, those days "
        f"{figures['conditional_value_at_risk']:.2%} on average; the worst day was "
        f"{figures['worst_day']:.2%}, the worst month {figures['worst_month']:.2%}."
    )
