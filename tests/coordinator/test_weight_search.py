"""Ensembles whose weights are searched: each suggestion is simulated."""

import pytest
from admf.coordinator.audit.verification import verify_workspace
from admf.domain.errors import ConfigurationError


@pytest.fixture
def weighed(folder):
    """Make a workflow of a search, and of a search for the weights of its best trials."""

    def workflow(asked=None, **study):
        return {
            "name": "weighed",
            "cache": False,
            "data": {"file": str(folder / "walk.csv")},
            "execution": {"commission": {"percent": 0.05}},
            "workflow": [
                {
                    "name": "search",
                    "type": "optimization",
                    "strategies": [{"name": "cross", "type": "sma_crossover"}],
                    "optimization": {"parameters": {"cross.fast": [2, 3, 5], "cross.slow": [8, 13]}},
                },
                {
                    "name": "weights",
                    "type": "ensemble",
                    "signals_from": "search",
                    "trials": {"top": 3},
                    "ensemble": {"min_weight": 0.1, "max_weight": 0.6, **(asked or {})},
                    "optimization": {"algorithm": "tpe", "trials": 12, "batch": 4, **study},
                },
            ],
        }

    return workflow


def test_the_best_of_the_weights_that_were_simulated_is_handed_on(coordinator, weighed):
    result = coordinator.execute_workflow(weighed(objective="calmar_ratio", constraints=["trades > 3"]))
    phase = result.phase("weights")
    trials = phase.trials().iloc[3:]
    names = [f"weight.{name}" for name in phase.weights]
    assert len(trials) == 12
    assert trials[names].sum(axis=1).tolist() == pytest.approx([1.0] * 12)
    assert ((trials[names] >= 0.1 - 1e-9) & (trials[names] <= 0.6 + 1e-9)).all(axis=None)
    allowed = trials[trials["trades"] > 3]
    best = allowed.loc[allowed["calmar_ratio"].idxmax()]
    assert [best[name] for name in names] == list(phase.weights.values())
    assert phase.output.best.container == best["container"]
    assert phase.output.trials == 15
    assert [each.outcome for each in coordinator.replay_workflow(result.run)] == ["identical"] * 2
    assert verify_workspace(coordinator.workspace).violations == ()


@pytest.mark.parametrize(
    ("asked", "study", "message"),
    [
        ({"method": "cvar"}, {}, "weights are either calculated by a method or searched"),
        ({"max_correlation": 0.9}, {}, "max_correlation: is for weights that are calculated"),
        ({}, {"parameters": {"cross.fast": [2]}}, "an ensemble searches its weights alone"),
        ({}, {"algorithm": "grid"}, "weights are continuous, and a grid tries every value"),
        ({"min_weight": 0.5}, {}, "no weights of 3 members from 0.5 to 0.6 sum to one"),
    ],
)
def test_a_search_that_can_not_be_is_refused(refusal, weighed, asked, study, message):
    assert message in refusal(weighed(asked, **study), ConfigurationError)
