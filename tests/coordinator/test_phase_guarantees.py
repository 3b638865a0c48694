"""Of a phase of any type: workers and kills change nothing in it, and it replays and verifies."""

import pytest
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.phases import PHASES

SEARCH = {
    "name": "search",
    "type": "optimization",
    "strategies": [{"name": "cross", "type": "sma_crossover"}],
    "optimization": {"parameters": {"cross.fast": [2, 3, 5], "cross.slow": [8, 13]}},
    "shard_size": 4,
}
SPACE = {"cross.fast": {"low": 2, "high": 6}, "risk.stop_loss": {"low": 1.0, "high": 9.0}}
VOLATILITY = {"type": "volatility", "window": 10, "fit": {"end": "2000-07-31"}}
REGIMES = {
    "type": "regime_analysis",
    "of": "search",
    "classifier": VOLATILITY,
    "minimum_bars": 20,
    "minimum_trades": 3,
}
WEIGHED = {"type": "ensemble", "signals_from": "search", "trials": {"top": 3}}
CASES = {
    "backtest": [SEARCH, {"type": "backtest", "inherit_best_from": "search", "classifier": VOLATILITY}],
    "optimization": [SEARCH | {"optimization": {"algorithm": "tpe", "trials": 10, "parameters": SPACE}}],
    "genetic search": [
        SEARCH | {"optimization": {"algorithm": "genetic", "trials": 10, "parameters": SPACE}}
    ],
    "walk-forward": [
        SEARCH
        | {
            "type": "validation",
            "walk_forward": {"train_size": 100, "test_size": 80, "purge_size": 2},
            "optimization": {"parameters": {"cross.fast": [2, 5], "risk.stop_loss": [0, 2]}},
        }
    ],
    "cross-validation": [
        SEARCH
        | {
            "type": "validation",
            "cross_validation": {"folds": 4, "test_folds": 2, "purge_size": 2, "embargo_size": 12},
            "optimization": {
                "parameters": {"cross.fast": [2, 5], "risk.stop_loss": [1, 2]},
                "constraints": ["trades >= 1"],
            },
        }
    ],
    "cross-validation with a sampler": [
        SEARCH
        | {
            "type": "validation",
            "cross_validation": {"folds": 3, "purge_size": 2},
            "optimization": {"algorithm": "random", "trials": 4, "batch": 2, "parameters": SPACE},
        }
    ],
    "signal_replay": [
        SEARCH,
        {
            "type": "signal_replay",
            "signals_from": "search",
            "trials": "all",
            "optimization": {"parameters": {"risk.stop_loss": [0, 3]}},
            "shard_size": 5,
        },
    ],
    "ensemble": [
        SEARCH,
        WEIGHED | {"ensemble": {"method": "cvar", "level": 0.9, "max_weight": 0.7}},
    ],
    "ensemble by regime": [
        SEARCH,
        REGIMES | {"name": "regimes"},
        WEIGHED
        | {
            "regimes": "regimes",
            "minimum_bars": 20,
            "ensemble": {"method": "inverse_volatility", "per_regime": True},
        },
        {"name": "later", "type": "validation", "ensemble_from": "phase"},
    ],
    "search for weights": [
        SEARCH,
        WEIGHED
        | {
            "ensemble": {"min_weight": 0.1, "max_weight": 0.6},
            "optimization": {"algorithm": "tpe", "trials": 8, "batch": 4},
        },
    ],
    "analysis": [SEARCH, {"type": "analysis", "of": "search", "analysis": {"blocks": 8, "samples": 200}}],
    "regime_analysis": [SEARCH, REGIMES | {"classifier": {"type": "hmm", "fit": {"end": "2000-08-31"}}}],
    "classifier_comparison": [
        SEARCH,
        {"type": "classifier_comparison", "of": "search", "classifiers": ["volatility", "trend"]},
    ],
    "risk_assessment": [
        SEARCH,
        {"type": "risk_assessment", "of": "search", "monte_carlo": {"samples": 200}},
    ],
    "signal_quality": [SEARCH, {"type": "signal_quality", "of": "search", "classifier": VOLATILITY}],
    "convergence": [
        SEARCH,
        {
            "type": "convergence",
            "of": "search",
            "convergence": {"before": "${search.best.metrics.sharpe_ratio}", "tolerance": 0.1},
        },
    ],
    "pattern_discovery": [
        SEARCH | {"log": "metrics"},
        {"type": "pattern_discovery", "of": "search", "patterns": {"best": 0.4}},
    ],
}
"""Phases that end with the one of interest, or with what follows it."""


KILLED_ELSEWHERE = {
    "ensemble",
    "backtest",
    "optimization",
    "genetic search",
    "walk-forward",
    "cross-validation",
    "cross-validation with a sampler",
}
"""By test_resume.py and test_samplers.py; of an ensemble, what is more than the one by regime takes long."""


@pytest.fixture
def workflow_of(folder):
    return lambda case: {
        "seed": 5,
        "cache": False,
        "data": {"file": str(folder / "walk.csv"), "start": "2000-02-01"},
        "execution": {"commission": {"percent": 0.05}, "slippage": {"bps": 2}},
        "metrics": {"bars_per_year": 252},
        "workflow": [{"name": "phase", **each} for each in CASES[case]],
    }


def test_there_is_a_case_for_each_type_of_phases():
    assert {phase["type"] for phases in CASES.values() for phase in phases} == set(PHASES)


@pytest.mark.parametrize("case", CASES)
def test_workers_a_replay_and_verification_agree(coordinator, pooled, workflow_of, heads, case):
    workflow = workflow_of(case)
    result = coordinator.execute_workflow(workflow)
    assert {phase.status for phase in result.phases.values()} == {"completed"}
    assert heads(pooled.execute_workflow(workflow)) == heads(result)
    assert {each.outcome for each in coordinator.replay_workflow(result.run)} == {"identical"}
    assert verify_workspace(coordinator.workspace).violations == ()


@pytest.mark.parametrize("case", [case for case in CASES if case not in KILLED_ELSEWHERE])
def test_killed_after_each_append_a_phase_is_resumed_to_the_same_hashes(
    workflow_of, killed_at_each_append, case
):
    workflow = workflow_of(case)
    assert killed_at_each_append(workflow, workflow["workflow"][1]["name"]) >= 3
