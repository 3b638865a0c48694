"""How several classifiers of regimes differ on the same bars, and what each of them tells apart."""

from itertools import combinations

import numpy as np

from ...domain.bars import Window
from ...domain.errors import ConfigurationError
from ...domain.events import Float64, Int8, PhaseOutput
from ...domain.regimes.classifiers import log_returns
from ...domain.regimes.comparison import (
    adjusted_rand,
    chance_of_separation,
    mean_duration,
    separation,
    switches,
)
from ...domain.regimes.performance import known_before
from ...domain.statistics.bootstrap import sharpe_ratios
from ...domain.topology import Containers, Topology
from ..configuration.classifier_section import ClassifierSection
from ..configuration.sections import PhaseSection
from .classification import classified, require_classifiable
from .context import PhaseContext
from .evidence import best_trial, concluded, planned_for_analysis

SURE = 0.05
"""The p-value above which results may be separated by chance."""


def plan_classifier_comparison(section: PhaseSection, topology: Topology, window: Window) -> Containers:  # noqa: ARG001
    """Plan nothing: bars are classified, and nothing is simulated."""
    where = f"phase {section.name!r}.classifiers"
    classifiers = section.classifiers or ()
    if len(classifiers) < 2:
        raise ConfigurationError(
            f"{where}: a comparison takes at least two, as in `classifiers: [volatility, trend]`; found "
            f"{len(classifiers)}."
        )
    for number, classifier in enumerate(classifiers):
        require_classifiable(section, classifier, f"{where}[{number}]")
    return planned_for_analysis(section, window)


def classifier_comparison(context: PhaseContext) -> PhaseOutput:
    """Classify the bars by each classifier, and compare the regimes that were known before each bar.

    Forward returns are those of the bar that follows; the results are the returns of the best trial of the
    phase that is analyzed.
    """
    window, section = context.window, context.section
    results = best_trial(context).returns
    returns = log_returns(context.panel.bars[0])[window.first : window.stop]
    year = float(np.sqrt(context.topology.bars_per_year))
    known: dict[str, Int8] = {}
    figures: dict[str, float] = {}
    for classifier in section.classifiers or ():
        name = _new_name(classifier, known)
        names, labels, *_ = classified(section, classifier, context.panel)
        known[name] = known_before(labels, window.first)
        figures |= {
            f"{name}.unknown": float(np.mean(known[name] < 0)),
            f"{name}.switches": float(switches(known[name])),
            f"{name}.volatility_separation": separation(np.abs(returns), known[name]),
            f"{name}.return_separation": separation(returns, known[name]),
            f"{name}.result_separation": separation(results, known[name]),
            f"{name}.result_p_value": chance_of_separation(results, known[name]),
        }
        for number, regime in enumerate(names):
            found = _regime(known[name], number, returns, results, year)
            figures |= {f"{name}.{regime}.{key}": value for key, value in found.items()}
    for one, other in combinations(known, 2):
        figures[f"{one}_and_{other}.adjusted_rand"] = adjusted_rand(known[one], known[other])
    return concluded(context, figures, _verdict(list(known), figures))


def _new_name(classifier: ClassifierSection, known: dict[str, Int8]) -> str:
    """Name a classifier after its type; a second one of a type has a number."""
    count = sum(name.partition("_")[0] == classifier.type for name in known)
    return f"{classifier.type}_{count + 1}" if count else classifier.type


def _regime(known: Int8, regime: int, returns: Float64, results: Float64, year: float) -> dict[str, float]:
    inside = known == regime
    ahead = returns[inside & np.isfinite(returns)]
    return {
        "share": float(np.mean(inside)),
        "duration": mean_duration(known, regime),
        "volatility": float(ahead.std(ddof=1)) * year if ahead.size > 1 else float("nan"),
        "return": float(ahead.mean()) * year**2 if ahead.size else float("nan"),
        "result_sharpe": float(sharpe_ratios(results[np.newaxis, inside])[0]) * year
        if np.count_nonzero(inside) > 1
        else float("nan"),
    }


def _verdict(names: list[str], figures: dict[str, float]) -> str:
    def value(name: str, figure: str) -> float:
        found = figures[f"{name}.{figure}"]
        return found if np.isfinite(found) else -np.inf

    by_volatility = max(names, key=lambda name: value(name, "volatility_separation"))
    by_results = max(names, key=lambda name: value(name, "result_separation"))
    p_value, most = figures[f"{by_results}.result_p_value"], max(names, key=lambda n: value(n, "switches"))
    surely = "more than by chance" if p_value <= SURE else "which may be chance"
    alike = max((name for name in figures if name.endswith(".adjusted_rand")), key=lambda n: figures[n])
    pair = alike.rpartition(".")[0].replace("_and_", " and ")
    return (
        f"{by_volatility} tells the size of the next bar's return best: it explains "
        f"{figures[f'{by_volatility}.volatility_separation']:.1%} of it. {by_results} separates the results "
        f"best, {surely} (p {p_value:.2g}). {pair} agree most, with an adjusted Rand "
        f"index of {figures[alike]:.2f}; {most} switches most, {figures[f'{most}.switches']:,.0f} times."
    )
