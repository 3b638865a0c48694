"""The types of phases. A phase is a function of its context that simulates and returns what it hands on."""

from collections.abc import Callable

import msgspec

from ...domain.bars import Window
from ...domain.events import PhaseOutput
from ...domain.registry import Registry
from ...domain.topology import Containers, Topology
from ..configuration.sections import PhaseSection
from .analysis import analysis, plan_analysis
from .backtest import backtest, plan_backtest
from .classifier_comparison import classifier_comparison, plan_classifier_comparison
from .context import PhaseContext
from .convergence import convergence, plan_convergence
from .ensemble import ensemble, plan_ensemble
from .optimization import optimization, plan_optimization
from .pattern_discovery import pattern_discovery, plan_pattern_discovery
from .regime_analysis import plan_regime_analysis, regime_analysis
from .risk_assessment import plan_risk_assessment, risk_assessment
from .signal_quality import plan_signal_quality, signal_quality
from .signal_replay import plan_signal_replay, signal_replay
from .validation import plan_validation, validation


class PhaseType(msgspec.Struct, frozen=True):
    """A type of phase.

    Attributes
    ----------
    plan
        Returns the containers that follow from the configuration alone, and raises `ConfigurationError` where
        it can't be carried out.
    run
        Simulates them, and others that follow from what came of them, and returns what the phase hands on.
    sections
        Which of the optional sections it uses.
    follows
        Whether it follows the signals of the phase that it inherits from, instead of calling strategies.
    analyzes
        Whether it reads the trials of the phase that it inherits from, and simulates nothing.
    """

    plan: Callable[[PhaseSection, Topology, Window], Containers]
    run: Callable[[PhaseContext], PhaseOutput]
    sections: frozenset[str] = frozenset()
    follows: bool = False
    analyzes: bool = False


PHASES: Registry[PhaseType] = Registry("phase type")
PHASES.register("backtest", PhaseType(plan_backtest, backtest, frozenset({"classifier"})))
PHASES.register("optimization", PhaseType(plan_optimization, optimization, frozenset({"optimization"})))
PHASES.register(
    "validation",
    PhaseType(
        plan_validation,
        validation,
        frozenset({"optimization", "walk_forward", "cross_validation", "classifier"}),
    ),
)
PHASES.register(
    "signal_replay",
    PhaseType(
        plan_signal_replay, signal_replay, frozenset({"optimization", "trials", "classifier"}), follows=True
    ),
)
PHASES.register(
    "ensemble",
    PhaseType(
        plan_ensemble,
        ensemble,
        frozenset({"trials", "more_signals_from", "regimes", "ensemble", "minimum_bars", "optimization"}),
        follows=True,
    ),
)
PHASES.register("analysis", PhaseType(plan_analysis, analysis, frozenset({"analysis"}), analyzes=True))
PHASES.register(
    "regime_analysis",
    PhaseType(
        plan_regime_analysis,
        regime_analysis,
        frozenset({"classifier", "minimum_bars", "minimum_trades"}),
        analyzes=True,
    ),
)
PHASES.register(
    "convergence",
    PhaseType(plan_convergence, convergence, frozenset({"convergence"}), analyzes=True),
)
PHASES.register(
    "risk_assessment",
    PhaseType(plan_risk_assessment, risk_assessment, frozenset({"monte_carlo", "limits"}), analyzes=True),
)
PHASES.register(
    "signal_quality",
    PhaseType(plan_signal_quality, signal_quality, frozenset({"classifier"}), follows=True, analyzes=True),
)
PHASES.register(
    "pattern_discovery",
    PhaseType(plan_pattern_discovery, pattern_discovery, frozenset({"patterns"}), analyzes=True),
)
PHASES.register(
    "classifier_comparison",
    PhaseType(plan_classifier_comparison, classifier_comparison, frozenset({"classifiers"}), analyzes=True),
)
