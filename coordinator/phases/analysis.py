"""What the trials of an earlier phase say, once it is taken into account how many there were."""

from math import sqrt

import numpy as np

from ...domain.bars import Window
from ...domain.errors import ConfigurationError
from ...domain.events import PhaseOutput
from ...domain.statistics.bootstrap import (
    bootstrap_interval,
    max_drawdowns,
    sharpe_ratios,
    total_returns,
)
from ...domain.statistics.overfitting import overfitting
from ...domain.statistics.sharpe import (
    deflated_sharpe,
    expected_maximum,
    minimum_record_length,
    probabilistic_sharpe,
    record_of,
)
from ...domain.topology import Containers, Topology
from ..configuration.analysis_sections import AnalysisSection
from ..configuration.sections import PhaseSection
from ..streams.earlier_trials import EarlierTrials, measured
from .context import PhaseContext
from .evidence import analyzed, concluded, planned_for_analysis


def plan_analysis(section: PhaseSection, topology: Topology, window: Window) -> Containers:  # noqa: ARG001
    """Plan nothing: an analysis reads trials, and simulates none."""
    where = f"phase {section.name!r}"
    planned = planned_for_analysis(section, window)
    wanted = section.analysis or AnalysisSection()
    if len(window) < 2 * wanted.blocks:
        raise ConfigurationError(
            f"{where}.analysis.blocks: {wanted.blocks} blocks need at least {2 * wanted.blocks} bars, found "
            f"{len(window)}; choose fewer blocks or a longer period."
        )
    return planned


def analysis(context: PhaseContext) -> PhaseOutput:
    """Tell whether the best trial of an earlier phase is more than the best of so many by chance.

    It is if three figures say so with the configured level: the deflated Sharpe ratio, the lower end of the
    interval of the Sharpe ratio, and how often what is best in one half of the period loses in the other. The
    probability of overfitting tells of something else: whether the choice among the trials mattered. Where
    all of them share an edge, it is high.
    """
    earlier, _ = analyzed(context)
    wanted = context.section.analysis or AnalysisSection()
    trials = measured(earlier, wanted.blocks)
    figures = _figures(trials, wanted, context.topology.bars_per_year)
    return concluded(context, figures, _verdict(figures, wanted.level))


def _figures(trials: EarlierTrials, wanted: AnalysisSection, per_year: float) -> dict[str, float]:
    year, count = sqrt(per_year), trials.ratios.size
    record = record_of(trials.best)
    variance = float(np.var(trials.ratios, ddof=1)) if count > 1 else 0.0
    figures = {
        "trials": float(count),
        "bars": float(record.bars),
        "sharpe_ratio": record.ratio * year,
        "skewness": record.skewness,
        "kurtosis": record.kurtosis,
        "expected_maximum_sharpe": expected_maximum(variance, count) * year,
        "probabilistic_sharpe": probabilistic_sharpe(record),
        "deflated_sharpe": deflated_sharpe(record, variance, count),
        "minimum_record_length": minimum_record_length(record, 0.0, wanted.level),
        "overfitting_probability": float("nan"),
        "loss_probability": float("nan"),
    }
    if count > 1:
        found = overfitting(trials.sums)
        figures |= {"overfitting_probability": found.probability, "loss_probability": found.loss}
    for name, statistic, scale in (
        ("sharpe_ratio", sharpe_ratios, year),
        ("total_return", total_returns, 1.0),
        ("max_drawdown", max_drawdowns, 1.0),
    ):
        interval = bootstrap_interval(
            trials.best,
            statistic,
            seed=wanted.seed or 0,
            level=wanted.level,
            samples=wanted.samples,
            block=wanted.block,
        )
        figures |= {f"{name}_low": interval.low * scale, f"{name}_high": interval.high * scale}
    return figures


def _verdict(figures: dict[str, float], level: float) -> str:
    deflated, loss = figures["deflated_sharpe"], figures["loss_probability"]
    low, high = figures["sharpe_ratio_low"], figures["sharpe_ratio_high"]
    least, most = f"{level:g}", f"{1.0 - level:g}"
    # What is not defined doesn't speak for an edge.
    is_found = deflated >= level and low > 0.0 and not loss > 1.0 - level
    is_chosen = figures["overfitting_probability"] <= 1.0 - level
    found = "An edge was found" if is_found else "Nothing was found"
    choice = "is better than most others there, too" if is_chosen else "may be no better than others there"
    return (
        f"{found}: of {figures['trials']:,.0f} trials the best has a Sharpe ratio of "
        f"{figures['sharpe_ratio']:.2f}, between {low:.2f} and {high:.2f} with {level:.0%}, where chance "
        f"alone would lead to {figures['expected_maximum_sharpe']:.2f}. The deflated Sharpe ratio is "
        f"{deflated:.3f} (at least {least} is wanted). What is best in half of the period loses in the other "
        f"half with a probability of {loss:.3f} (at most {most}), and {choice}: the probability of "
        f"overfitting is {figures['overfitting_probability']:.3f}."
    )
