"""The Python of the first design documents, as it is written there, on the bundled bars."""
# ruff: noqa: ARG004, ARG005, UP006, UP035

from collections.abc import Callable
from typing import Any, Dict

import msgspec
import pytest
from admf import (
    CompositeWorkflowTemplate,
    Coordinator,
    WorkflowConfig,
    WorkflowPhaseDefinition,
    WorkflowResult,
    WorkflowType,
)
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.streams.trace_query import TraceQuery
from admf.coordinator.workflows.loading import load_workflow
from admf.coordinator.workflows.templates import WORKFLOW_TEMPLATES
from admf.domain.errors import AdmfError, ConfigurationError, UnknownNameError

SEARCH = {
    "algorithm": "grid",
    "parameter_space": {"sma_crossover.fast": [5, 10, 20], "sma_crossover.slow": [30, 50]},
}
DATA = {"file": "sp500.csv", "start": "1999-01-01", "end": "2003-12-31"}


class ConfigGenerators:
    """Configuration generators for workflow phases"""

    @staticmethod
    def parameter_discovery_config(base_config: WorkflowConfig) -> Dict[str, Any]:
        """Generate config for parameter discovery phase"""
        return {
            "optimization_config": {
                "algorithm": "grid",
                "parameter_space": base_config.parameters["parameter_space"],
                "objective": "sharpe_ratio",
                "regime_aware": True,
                "capture_signals": True,  # Important for signal replay
            },
            "backtest_config": {
                "start_date": base_config.parameters["train_start"],
                "end_date": base_config.parameters["train_end"],
                "initial_capital": 100000,
            },
            "data_config": base_config.data_config,
        }

    @staticmethod
    def regime_analysis_config(
        base_config: WorkflowConfig, param_discovery_results: WorkflowResult
    ) -> Dict[str, Any]:
        """Generate config for regime analysis phase"""
        return {
            "analysis_config": {
                "analysis_type": "regime_performance",
                "trades_data": param_discovery_results.final_results["all_trades"],
                "regime_classifiers": base_config.parameters["regime_classifiers"],
                "metrics": ["sharpe", "returns", "drawdown", "win_rate"],
            }
        }

    @staticmethod
    def ensemble_optimization_config(
        base_config: WorkflowConfig, param_results: WorkflowResult, regime_results: WorkflowResult
    ) -> Dict[str, Any]:
        """Generate config for ensemble optimization phase"""
        return {
            "optimization_config": {
                "algorithm": "genetic",
                "objective": "risk_adjusted_returns",
                "signal_replay": True,  # Use captured signals
                "signal_logs": param_results.final_results["signal_logs"],
                "regime_optimal_params": regime_results.final_results["optimal_params_by_regime"],
                "weight_constraints": {"min_weight": 0.0, "max_weight": 1.0, "sum_to_one": True},
            }
        }

    @staticmethod
    def walk_forward_config(base_config: WorkflowConfig, ensemble_results: WorkflowResult) -> Dict[str, Any]:
        """Generate config for walk-forward validation: left to the reader there"""
        return {
            "ensemble_from": ensemble_results,
            "walk_forward": {"train_size": 250, "test_size": 125},
            "backtest_config": {
                "start_date": base_config.parameters["test_start"],
                "end_date": base_config.parameters["test_end"],
            },
        }


def searching(name: str, generator: Callable[..., object], **more: Any) -> WorkflowPhaseDefinition:
    return WorkflowPhaseDefinition(
        name=name, workflow_type=WorkflowType.OPTIMIZATION, config_generator=generator, **more
    )


def run(coordinator: Coordinator, *phases: WorkflowPhaseDefinition) -> WorkflowResult:
    coordinator.workflow_registry.register(CompositeWorkflowTemplate("tried", phases=phases))
    return coordinator.execute_workflow(WorkflowConfig(workflow_type="tried", data_config=DATA))


def test_sections_4_and_5(coordinator):
    custom_template = CompositeWorkflowTemplate(
        name="adaptive_regime_with_risk_sweep",
        description="Regime optimization followed by risk parameter tuning",
        phases=[
            WorkflowPhaseDefinition(
                name="parameter_discovery",
                workflow_type=WorkflowType.OPTIMIZATION,
                config_generator=ConfigGenerators.parameter_discovery_config,
            ),
            WorkflowPhaseDefinition(
                name="regime_analysis",
                workflow_type=WorkflowType.ANALYSIS,
                config_generator=ConfigGenerators.regime_analysis_config,
                depends_on=["parameter_discovery"],
            ),
            WorkflowPhaseDefinition(
                name="risk_parameter_sweep",
                workflow_type=WorkflowType.OPTIMIZATION,
                config_generator=lambda base_config, regime_results: {
                    "optimization_config": {
                        "algorithm": "grid",
                        "parameter_space": {
                            "max_position_size": [0.01, 0.02, 0.03, 0.05],
                            "max_drawdown": [0.05, 0.10, 0.15, 0.20],
                            "position_sizing_method": ["fixed", "volatility", "kelly"],
                        },
                        "signal_replay": True,
                        "objective": "risk_adjusted_sharpe",
                        "fixed_strategy_params": regime_results["optimal_params"],
                    }
                },
                depends_on=["regime_analysis"],
            ),
            # Phase 4: Ensemble with risk-aware weights
            WorkflowPhaseDefinition(
                name="risk_aware_ensemble",
                workflow_type=WorkflowType.OPTIMIZATION,
                config_generator=lambda base_config, risk_results: {
                    "optimization_config": {
                        "algorithm": "bayesian",
                        "objective": "min_drawdown_sharpe",
                        "signal_replay": True,
                        "risk_parameters": risk_results["optimal_risk_params"],
                    }
                },
                depends_on=["risk_parameter_sweep"],
            ),
            # Phase 5: Walk-forward validation
            WorkflowPhaseDefinition(
                name="walk_forward_validation",
                workflow_type=WorkflowType.VALIDATION,
                config_generator=ConfigGenerators.walk_forward_config,
                depends_on=["risk_aware_ensemble"],
            ),
        ],
        aggregation_strategy=lambda results: {
            "optimal_strategy_params": results["regime_analysis"]["optimal_params_by_regime"],
            "optimal_risk_params": results["risk_parameter_sweep"]["best_params"],
            "ensemble_weights": results["risk_aware_ensemble"]["weights"],
            "validation_metrics": results["walk_forward_validation"]["metrics"],
        },
    )
    coordinator.workflow_registry.register(custom_template)
    config = WorkflowConfig(
        workflow_type="adaptive_regime_with_risk_sweep",
        parameters={
            "parameter_space": {"sma_crossover.fast": [5, 10, 20], "sma_crossover.slow": [30, 50]},
            "regime_classifiers": ["hmm", "pattern"],
            "train_start": "1999-01-01",
            "train_end": "2003-12-31",
            "test_start": "2004-01-01",
            "test_end": "2008-12-31",
        },
        data_config={"file": "sp500.csv"},
    )
    result = coordinator.execute_workflow(config)
    best = result.phase("parameter_discovery").best_params
    sweep = result.phase("risk_parameter_sweep")
    assert len(sweep.trials()) == 4 * 4 * 3
    assert sweep.best_params.items() >= best.items()
    assert set(result.phase("regime_analysis").optimal_params_by_regime) <= {"calm", "volatile"}
    assert result.phase("regime_analysis.pattern").output.regimes[0].name == "falling"
    ensemble, folds = (
        result.phase("risk_aware_ensemble"),
        result.phase("walk_forward_validation").output.folds,
    )
    assert sum(ensemble.weights.values()) == pytest.approx(1.0)
    searched = ensemble.trials().iloc[len(ensemble.weights) :]
    assert ensemble.metrics["max_drawdown"] == searched["max_drawdown"].min()
    assert [fold.test_start > "2004" for fold in folds] == [True] * 8
    assert result.aggregated == {
        "optimal_strategy_params": result.phase("regime_analysis").optimal_params_by_regime,
        "optimal_risk_params": sweep.output.best.parameters,
        "ensemble_weights": ensemble.weights,
        "validation_metrics": result.phase("walk_forward_validation").output.metrics,
    }
    # The ensemble trades with the risk that the sweep found.
    stated = TraceQuery(coordinator.workspace.store).get_phase_configuration(result.run, ensemble.name)
    risk = msgspec.json.decode(stated)["risk"]
    assert risk["limits"]["max_drawdown"] == sweep.best_params["risk.limits.max_drawdown"]
    assert risk["position_sizers"][0]["type"] == sweep.best_params["position_size.type"]
    assert verify_workspace(coordinator.workspace).violations == ()


def test_the_ensemble_of_section_4_has_weights_by_regime(coordinator):
    template = CompositeWorkflowTemplate(
        "regime_ensemble",
        phases=[
            WorkflowPhaseDefinition(
                "parameter_discovery",
                WorkflowType.OPTIMIZATION,
                ConfigGenerators.parameter_discovery_config,
            ),
            WorkflowPhaseDefinition(
                "regime_analysis",
                WorkflowType.ANALYSIS,
                ConfigGenerators.regime_analysis_config,
                depends_on=["parameter_discovery"],
            ),
            WorkflowPhaseDefinition(
                "ensemble_optimization",
                WorkflowType.OPTIMIZATION,
                ConfigGenerators.ensemble_optimization_config,
                depends_on=["parameter_discovery", "regime_analysis"],
            ),
        ],
    )
    coordinator.workflow_registry.register(template)
    parameters = {
        "parameter_space": SEARCH["parameter_space"],
        "regime_classifiers": ["volatility"],
        "train_start": "1999-01-01",
        "train_end": "2003-12-31",
    }
    result = coordinator.execute_workflow(
        WorkflowConfig("regime_ensemble", parameters, {"file": "sp500.csv"})
    )
    output = result.phase("ensemble_optimization").output
    for regime in ("calm", "volatile"):
        assert sum(member.regimes[regime] for member in output.weights) == pytest.approx(1.0)
    bests = [regime.best.container for regime in result.phase("regime_analysis").output.regimes]
    assert {member.source for member in output.weights} == {
        *bests,
        result.phase("parameter_discovery").output.best.container,
    }
    trials = result.phase("ensemble_optimization").trials()
    searched = trials[trials["container"] >= len(output.weights)]
    assert output.best.metrics["calmar_ratio"] == searched["calmar_ratio"].max()


def test_pattern_3_runs_a_phase_only_where_its_condition_holds(coordinator):
    basic = searching("basic", lambda base_config: {"optimization_config": SEARCH})

    def advanced(name, least):
        return WorkflowPhaseDefinition(
            name=name,
            workflow_type=WorkflowType.OPTIMIZATION,
            config_generator=lambda base_config, prev_results: {
                # Only run if basic optimization found good params
                "enabled": prev_results["sharpe"] > least,
                "optimization_config": {**SEARCH, "algorithm": "random", "trials": 4},
            },
            continue_on_failure=True,  # Skip if not enabled
        )

    result = run(coordinator, basic, advanced("advanced_optimization", 0.0), advanced("hopeless", 100.0))
    assert result.phase("basic").output.metrics["sharpe_ratio"] > 0.0
    assert [phase.status for phase in result.phases.values()] == ["completed", "completed", "skipped"]
    assert "advanced_optimization.metrics.sharpe_ratio > 100.0" in result.phase("hopeless").reason


def create_iterative_workflow(initial_phase, max_iterations=5):
    phases = [initial_phase]

    for i in range(max_iterations):
        phases.extend(
            [
                WorkflowPhaseDefinition(
                    name=f"refinement_{i}",
                    workflow_type=WorkflowType.OPTIMIZATION,
                    config_generator=lambda cfg, prev, i=i: {
                        "optimization_config": {
                            "algorithm": "gradient",
                            "starting_point": prev[f"refinement_{i - 1}"]["best_params"] if i > 0 else None,
                        }
                    },
                ),
                WorkflowPhaseDefinition(
                    name=f"convergence_check_{i}",
                    workflow_type=WorkflowType.ANALYSIS,
                    config_generator=lambda cfg, prev: {
                        "analysis_config": {"check_convergence": True, "tolerance": 0.001}
                    },
                ),
            ]
        )

    return CompositeWorkflowTemplate("iterative_refinement", phases=phases)


def test_pattern_4_refines_until_it_converges(coordinator):
    initial_phase = searching("initial", lambda cfg: {"optimization_config": SEARCH})
    coordinator.workflow_registry.register(create_iterative_workflow(initial_phase))
    result = coordinator.execute_workflow(
        WorkflowConfig("iterative_refinement", data_config=DATA, strategies=[{"type": "sma_crossover"}])
    )
    checks = [phase for name, phase in result.phases.items() if name.startswith("convergence_check")]
    ended = next(number for number, check in enumerate(checks) if check.output.figures["converged"])
    change = checks[ended].output.figures["change"]
    assert change < 0.001
    assert (
        f"changed by {change:.6g}, less than 0.001: the search has converged" in checks[ended].output.verdict
    )
    assert {result.phase(f"refinement_{turn}").status for turn in range(ended + 1)} == {"completed"}
    assert {result.phase(f"refinement_{turn}").status for turn in range(ended + 1, 5)} == {"skipped"}
    # The second search begins where the first one ended.
    second = result.phase(f"refinement_{ended}").trials()
    started = {name: second[name][0] for name in result.phase("refinement_0").best_params}
    assert started == result.phase(f"refinement_{ended - 1}").best_params


def test_a_search_begins_at_its_starting_point_whatever_suggests_points(coordinator):
    start = {"sma_crossover.fast": 12, "sma_crossover.slow": 70}
    space = {"sma_crossover.fast": {"low": 2, "high": 40}, "sma_crossover.slow": {"low": 41, "high": 90}}
    for algorithm in ("random", "gradient", "tpe", "genetic", "cma_es"):
        words = {"algorithm": algorithm, "trials": 2, "batch": 2, "parameter_space": space}
        search = searching(
            algorithm, lambda _, w=words: {"optimization_config": {**w, "starting_point": start}}
        )
        coordinator.workflow_registry.register(CompositeWorkflowTemplate(algorithm + "_", phases=[search]))
        result = coordinator.execute_workflow(WorkflowConfig(algorithm + "_", data_config=DATA))
        first = result.phase(algorithm).trials().iloc[0]
        assert {name: first[name] for name in start} == start, algorithm


def words_of(*phases: dict[str, object], **settings: object) -> list[dict[str, Any]]:
    """Put phases, given by their types and words, into the words of the configuration."""
    definitions = [
        WorkflowPhaseDefinition(f"phase_{number}", words.pop("type"), lambda _, w=words: w)
        for number, words in enumerate(map(dict, phases))
    ]
    WORKFLOW_TEMPLATES.register(CompositeWorkflowTemplate("words", phases=definitions), replace=True)
    return list(load_workflow(WorkflowConfig("words", **settings)).phases)


def searched(**words: object) -> dict[str, object]:
    return {"type": "optimization", "optimization_config": {**SEARCH, **words}}


def weighing(**words: object) -> dict[str, object]:
    """A search for the weights of the trials before it."""
    config = {"algorithm": "random", "signal_replay": True, "signal_logs": "phase_0", "trials": 3, **words}
    return {"type": "optimization", "optimization_config": config}


def test_each_word_becomes_what_the_document_says():
    dates = {"start_date": "1999-01-01", "end_date": "2001-12-31", "initial_capital": 5000}
    sweep = {
        "parameter_space": {"max_position_size": [0.07], "max_drawdown": [0.1]},
        "signal_logs": "phase_0",
    }
    fixed = {"fixed_strategy_params": "${phase_0.best.parameters}"}
    risk = {"max_position_size": 0.5, "position_sizing_method": "fixed", "max_drawdown": 0.2}
    found = words_of(
        {**searched(), "backtest_config": dates, "data_config": {"file": "a.csv"}, "enabled": False},
        searched(signal_replay=True, **sweep),
        searched(signal_replay=True, **sweep, **fixed),
        weighing(risk_parameters=risk, weight_constraints={"min_weight": 0.1, "max_weight": 0.9}),
        weighing(risk_parameters="${phase_2.best.parameters}", **fixed),
    )
    assert found[0]["data"] == {"file": "a.csv", "start": "1999-01-01", "end": "2001-12-31"}
    assert (found[0]["capital"], found[0]["when"]) == (5000, "False")
    assert [each["trials"] for each in found[1:]] == ["all", "best", "all", "best"]
    assert found[1]["type"] == "signal_replay"
    assert found[1]["optimization"]["parameters"] == {
        "position_size.percentage": [7.0],
        "risk.limits.max_drawdown": [10.0],
    }
    assert found[3]["type"] == "ensemble"
    assert found[3]["ensemble"] == {"min_weight": 0.1, "max_weight": 0.9}
    assert found[3]["risk"] == {
        "position_sizers": [{"name": "position_size", "type": "percentage", "percentage": 50.0}],
        "limits": {"max_drawdown": 20.0},
    }
    assert found[4]["risk"]["limits"] == {
        "max_drawdown": "${phase_2.best.parameters.risk.limits.max_drawdown}"
    }


@pytest.mark.parametrize(
    ("words", "level"),
    [
        ({}, None),
        ({"capture_signals": True}, "full"),
        ({"capture_signals": True, "regime_aware": True}, "full"),
        ({"capture_signals": False, "regime_aware": True}, "fills"),
        ({"regime_aware": False}, "metrics"),
    ],
)
def test_what_is_captured_is_what_is_logged(words, level):
    (phase,) = words_of(searched(**words))
    assert phase.get("log") == level


@pytest.mark.parametrize(
    ("objective", "ours"),
    [
        ("risk_adjusted_returns", {"objective": "calmar_ratio"}),
        ("risk_adjusted_sharpe", {"objectives": ["sharpe_ratio", "max_drawdown"]}),
        ("min_drawdown_sharpe", {"objectives": ["max_drawdown", "sharpe_ratio"]}),
        ("sortino_ratio", {"objective": "sortino_ratio"}),
    ],
)
def test_objectives_are_those_of_the_configuration(objective, ours):
    (phase,) = words_of(searched(objective=objective, algorithm="bayesian"))
    parameters = SEARCH["parameter_space"]
    assert phase["optimization"] == {"algorithm": "tpe", "parameters": parameters, **ours}


def test_strategies_are_those_whose_parameters_are_searched_unless_some_are_stated():
    assert words_of(searched())[0]["strategies"] == [{"type": "sma_crossover"}]
    assert "strategies" not in words_of(searched(), strategies=[{"type": "sma_crossover"}])[0]


@pytest.mark.parametrize(
    ("phases", "error", "message"),
    [
        ([searched(capture_signal=True)], UnknownNameError, "unknown key 'capture_signal'"),
        ([searched(signal_logs="x")], ConfigurationError, "signal_logs: says something only with"),
        ([searched(signal_replay=True)], ConfigurationError, "the signals of which phase? Name it"),
        (
            [searched(), searched(signal_replay=True, signal_logs="phase_0", weight_constraints={})],
            ConfigurationError,
            "weight_constraints: is for weights, and this phase searches parameters of risk",
        ),
        (
            [searched(), searched(signal_replay=True, signal_logs="phase_0", fixed_strategy_params={"a": 1})],
            ConfigurationError,
            "fixed_strategy_params: must be the best parameters of 'phase_0'",
        ),
        (
            [{**searched(), "backtest_config": {"start": 1}}],
            UnknownNameError,
            "unknown word 'start'. Did you",
        ),
        ([{**searched(), "enabled": 3}], ConfigurationError, "must be true, false, or a comparison, was 3"),
        (
            [{**searched(), "log": "full", "data_config": {}}, searched(objective="sharp")],
            UnknownNameError,
            "",
        ),
        ([{**searched(capture_signals=True), "log": "full"}], ConfigurationError, "log: is said twice"),
        (
            [{"type": "analysis", "analysis_config": {"check_convergence": True, "tolerance": 1}}],
            ConfigurationError,
            "needs two searches before it",
        ),
        (
            [{"type": "analysis", "analysis_config": {"analysis_type": "regime_performence"}}],
            UnknownNameError,
            "unknown type of analysis 'regime_performence'. Did you mean regime_performance?",
        ),
        (
            [
                {
                    "type": "analysis",
                    "analysis_config": {
                        "analysis_type": "regime_performance",
                        "regime_classifiers": ["hmm"],
                        "metrics": ["sharp"],
                    },
                }
            ],
            UnknownNameError,
            "unknown metric 'sharp'. Did you mean sharpe or",
        ),
        (
            [searched(parameter_space={"max_position_size": ["all"]})],
            ConfigurationError,
            "max_position_size: must be a number, a fraction, was 'all'",
        ),
        (
            [searched(capture_signals="no")],
            ConfigurationError,
            "capture_signals: must be true or false, was 'no'",
        ),
        (
            [{"type": "analysis", "analysis_config": {"check_convergence": False}}],
            UnknownNameError,
            "unknown type of analysis ''",
        ),
        ([searched(), weighing(algorithm="grid")], ConfigurationError, "weights are continuous, and a grid"),
        (
            [searched(), weighing(weight_constraints={"sum_to_one": False})],
            ConfigurationError,
            "sum_to_one: must be true; weights always do",
        ),
        (
            [searched(), weighing(regime_optimal_params={"calm": 1})],
            ConfigurationError,
            "regime_optimal_params: must be results['optimal_params_by_regime']",
        ),
        (
            [searched(), weighing(risk_parameters={"max_drawdawn": 0.1})],
            UnknownNameError,
            "unknown parameter of risk 'max_drawdawn'. Did you mean max_drawdown?",
        ),
        (
            [searched(), weighing(weight_constraints={"max_weight": 0.1})],
            ConfigurationError,
            "no weights of 6 members from 0 to 0.1 sum to one",
        ),
    ],
)
def test_a_word_that_means_nothing_there_is_refused(
    refusal: Callable[..., str], phases: list[dict[str, object]], error: type[AdmfError], message: str
) -> None:
    definitions = [
        WorkflowPhaseDefinition(f"phase_{number}", words.pop("type"), lambda _, w=words: w)
        for number, words in enumerate(map(dict, phases))
    ]
    WORKFLOW_TEMPLATES.register(CompositeWorkflowTemplate("words", phases=definitions))
    assert message in refusal(WorkflowConfig("words", data_config=DATA), error)
