"""The three use cases of the design documents as templates from Python, on the bundled bars."""

from collections.abc import Callable, Mapping

import pytest
from admf import CompositeWorkflowTemplate, WorkflowConfig, WorkflowPhaseDefinition
from admf.coordinator.reporting.report import write_report

CROSS = [{"name": "cross", "type": "sma_crossover"}]
SPACE = {"cross.fast": [5, 10, 20], "cross.slow": [30, 50]}
Written = Mapping[str, object]


def phase(
    name: str, kind: str, generator: Callable[..., Written], depends_on: tuple[str, ...] = ()
) -> WorkflowPhaseDefinition:
    return WorkflowPhaseDefinition(name, kind, generator, depends_on)


@pytest.fixture
def run(coordinator):
    """Run a template of these phases from 1999 on, and return the result."""

    def running(name, phases, end="2004-12-31", aggregation=None):
        coordinator.workflow_registry.register(
            CompositeWorkflowTemplate(name, phases=phases, aggregation_strategy=aggregation)
        )
        data = {"file": "sp500.csv", "end": end}
        return coordinator.execute_workflow(WorkflowConfig(name, data_config=data, strategies=CROSS))

    return running


def test_signal_quality_research(run, coordinator, folder):
    result = run(
        "my_signal_quality_research",
        [
            phase("signal_generation", "backtest", lambda _: {"log": "full"}),
            phase(
                "mae_mfe_analysis",
                "signal_quality",
                lambda _, signals: {"of": signals},
                ("signal_generation",),
            ),
            phase(
                "classifier_comparison",
                "classifier_comparison",
                lambda _, signals: {"of": signals, "classifiers": ["trend", "volatility"]},
                ("signal_generation",),
            ),
            phase(
                "by_regime",
                "signal_quality",
                lambda _, signals, *_others: {"of": signals, "classifier": "trend"},
                ("signal_generation", "mae_mfe_analysis", "classifier_comparison"),
            ),
        ],
        aggregation=lambda results: {name: phase.output.verdict for name, phase in results.items()},
    )
    figures = result.phase("mae_mfe_analysis").output.figures
    assert figures["trades.mae"] > 0.0
    assert figures["trades.mfe"] > 0.0
    assert "cross.rising.after_05.hit_rate" in result.phase("by_regime").output.figures
    assert "trend.result_separation" in result.phase("classifier_comparison").output.figures
    assert result.aggregated == {name: phase.output.verdict for name, phase in result.phases.items()}
    # The report is made of the run, not in it.
    page = write_report(coordinator.workspace, result.run, folder / "research.html").read_text()
    assert all(name in page for name in result.phases)


def test_strategy_production_deployment_up_to_its_paper_phase(run):
    def deployment(limit):
        return [
            phase(
                "backtest",
                "optimization",
                lambda _: {"data": {"end": "2002-12-31"}, "optimization": {"parameters": SPACE}},
            ),
            phase(
                "validation",
                "validation",
                lambda _, backtest: {"inherit_best_from": backtest, "data": {"start": "2003-01-01"}},
                ("backtest",),
            ),
            phase(
                "risk_analysis",
                "risk_assessment",
                lambda _, validation: {"of": validation, "limits": {"max_drawdown": limit}},
                ("validation",),
            ),
            phase(
                "ready_for_paper_trading",
                "backtest",
                lambda _, validation, risk: {
                    "inherit_best_from": validation,
                    "when": risk.figures.passed > 0,
                },
                ("validation", "risk_analysis"),
            ),
        ]

    accepted = run("strategy_production_deployment", deployment(95))
    refused = run("refused", deployment(1))
    assert accepted.phase("ready_for_paper_trading").ended_well
    assert refused.phase("ready_for_paper_trading").status == "skipped"
    assert refused.phase("risk_analysis").output.figures["passed"] == 0.0


def test_weekly_strategy_tuning(run):
    result = run(
        "weekly_strategy_tuning",
        [
            phase(
                "performance_analysis",
                "optimization",
                lambda _: {"data": {"end": "2002-12-31"}, "optimization": {"parameters": SPACE}},
            ),
            phase(
                "regime_diagnosis",
                "regime_analysis",
                lambda _, recent: {"of": recent, "classifier": "volatility"},
                ("performance_analysis",),
            ),
            phase(
                "winning_parameters",
                "pattern_discovery",
                lambda _, recent: {"of": recent, "patterns": {"best": 0.5}},
                ("performance_analysis",),
            ),
            phase(
                "targeted_optimization",
                "optimization",
                lambda _, recent, _regimes, patterns: {
                    "data": {"end": "2002-12-31"},
                    "optimization": {
                        "algorithm": "random",
                        "trials": 8,
                        "parameters": patterns.space,
                        "start": recent.best.parameters,
                    },
                },
                ("performance_analysis", "regime_diagnosis", "winning_parameters"),
            ),
            phase(
                "improvement_validation",
                "validation",
                lambda _, tuned: {"inherit_best_from": tuned, "data": {"start": "2003-01-01"}},
                ("targeted_optimization",),
            ),
            phase(
                "parameter_update",
                "backtest",
                lambda _, recent, tuned, _validated: {
                    "inherit_best_from": tuned,
                    "when": tuned.best.sharpe_ratio >= recent.best.sharpe_ratio,
                },
                ("performance_analysis", "targeted_optimization", "improvement_validation"),
            ),
        ],
    )
    recent, tuned = result.phase("performance_analysis"), result.phase("targeted_optimization")
    assert {regime.name for regime in result.phase("regime_diagnosis").output.regimes} == {"calm", "volatile"}
    first = tuned.trials().iloc[0]
    assert {name: first[name] for name in SPACE} == recent.best_params
    assert tuned.metrics["sharpe_ratio"] >= recent.metrics["sharpe_ratio"]
    assert result.phase("improvement_validation").period[0] >= "2003-01-01"
    assert result.phase("parameter_update").ended_well
