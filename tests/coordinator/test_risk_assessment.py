"""Assessments of risk read the fills of an earlier phase's best trial, and draw its days and trades anew."""

import msgspec
import numpy as np
import pytest
from admf import Coordinator
from admf.coordinator.audit.verification import verify_workspace
from admf.domain.errors import ConfigurationError
from admf.domain.events import PhaseCompleted, PhaseOutputEvent
from admf.eventstore.codec import encode
from admf.eventstore.record import record


@pytest.fixture
def assessed(folder):
    """Make a workflow of a search and the assessment of its best trial."""

    def workflow(**stated):
        return {
            "name": "assessed",
            "seed": 3,
            "data": {"file": str(folder / "walk.csv")},
            "execution": {"commission": {"percent": 0.05}, "slippage": {"bps": 2}},
            "metrics": {"bars_per_year": 252},
            "workflow": [
                {
                    "name": "search",
                    "type": "optimization",
                    "strategies": [{"name": "cross", "type": "sma_crossover"}],
                    "optimization": {"parameters": {"cross.fast": [2, 3, 5], "cross.slow": [8, 13]}},
                    "shard_size": 4,
                },
                {"name": "risk", "type": "risk_assessment", "of": "search", "monte_carlo": {"samples": 500}}
                | stated,
            ],
        }

    return workflow


def test_figures_are_those_of_equity_and_trades_of_the_best_trial(coordinator, assessed):
    result = coordinator.execute_workflow(assessed(monte_carlo={"samples": 400, "level": 0.9}))
    search, output = result.phase("search"), result.phase("risk").output
    best = search.output.best.container
    curve = search.equity(best)
    worth = np.r_[100_000.0, curve["equity"].to_numpy()]
    returns = np.diff(worth) / worth[:-1]
    figures = output.figures
    assert figures["days"] == 300
    assert figures["value_at_risk"] == pytest.approx(np.quantile(returns, 0.1))
    assert figures["conditional_value_at_risk"] == pytest.approx(np.sort(returns)[:30].mean())
    assert figures["worst_day"] == pytest.approx(returns.min())
    assert figures["max_drawdown"] == pytest.approx(search.output.best.metrics["max_drawdown"])
    ends = curve.groupby(curve["time"].dt.to_period("M"))["equity"].last().to_numpy()
    months = np.diff(np.r_[100_000.0, ends]) / np.r_[100_000.0, ends[:-1]]
    assert figures["worst_month"] == pytest.approx(months.min())
    trades = search.trades()
    closed = (trades["container"] == best) & (trades["status"] == "closed")
    assert figures["trades"] == closed.sum() > 5
    assert output.best == search.output.best
    assert output.verdict in result.summary()


def test_of_walk_forward_folds_the_account_of_all_tests_is_assessed(coordinator, assessed):
    workflow = assessed()
    workflow["workflow"][0] |= {"type": "validation", "walk_forward": {"train_size": 100, "test_size": 50}}
    result = coordinator.execute_workflow(workflow)
    worth = np.r_[100_000.0, result.phase("search").equity()["equity"].to_numpy()]
    returns, figures = np.diff(worth) / worth[:-1], result.phase("risk").output.figures
    assert figures["days"] == returns.size == 200
    assert figures["worst_day"] == pytest.approx(returns.min())
    assert figures["value_at_risk"] == pytest.approx(np.quantile(returns, 0.05))
    assert figures["max_drawdown"] == pytest.approx(result.phase("search").output.metrics["max_drawdown"])
    assert verify_workspace(coordinator.workspace).violations == ()


def test_the_limits_decide_and_a_later_phase_goes_by_them(coordinator, assessed):
    workflow = assessed(limits={"max_drawdown": 2, "probability": 0.05})
    test = {"type": "backtest", "inherit_best_from": "search"}
    workflow["workflow"] += [
        test | {"name": "deploy", "when": "risk.figures.passed == 1"},
        test | {"name": "rethink", "when": "risk.figures.resampled_days.drawdown_probability > 0.05"},
    ]
    strict = coordinator.execute_workflow(workflow)
    assert strict.phase("risk").output.verdict.startswith("Beyond the limits")
    assert strict.phase("deploy").status == "skipped"
    assert strict.phase("rethink").status == "completed"
    mild = coordinator.execute_workflow(assessed(limits={"max_drawdown": 99})).phase("risk").output
    assert mild.figures["passed"] == 1.0
    assert mild.verdict.startswith("Within the limits")


def test_shards_of_any_size_lead_to_the_same_figures_and_another_seed_to_others(coordinator, assessed):
    workflow = assessed()
    result = coordinator.execute_workflow(workflow)
    workflow["workflow"][0]["shard_size"] = 100
    figures = result.phase("risk").output.figures
    assert coordinator.execute_workflow(workflow).phase("risk").output.figures == figures
    other = coordinator.execute_workflow(workflow | {"seed": 4}).phase("risk").output.figures
    assert other["value_at_risk"] == figures["value_at_risk"]
    assert other["resampled_days.drawdown_high"] != figures["resampled_days.drawdown_high"]


def test_a_forged_figure_is_found_by_verification_although_all_hashes_are_right(coordinator, assessed):
    result = coordinator.execute_workflow(assessed())
    assert verify_workspace(coordinator.workspace).violations == ()
    honest = coordinator.workspace.store
    with Coordinator("memory://") as forged:
        store = forged.workspace.store
        for stored in honest.scan():
            event = stored.event
            if isinstance(event, PhaseOutputEvent) and event.phase == "risk":
                event.output.figures["value_at_risk"] = -0.001
            if isinstance(event, PhaseCompleted):
                head = store.head(event.stream)
                event = msgspec.structs.replace(event, head_hash=head.content_hash.hex())
            again = record(
                store.head(stored.stream),
                encode(event),
                correlation_id=stored.correlation_id,
                causation_id=stored.causation_id,
                recorded_at=stored.recorded_at,
            )
            store._recorder.insert_events([store._mapper.to_stored_event(again)])
        (found,) = verify_workspace(forged.workspace, result.run).violations
    assert found.rule == "output"
    assert "value_at_risk must be" in found.message
    assert "is -0.001" in found.message


def test_no_trade_is_no_risk_and_is_said(coordinator, assessed):
    workflow = assessed()
    workflow["workflow"][0] = {
        "name": "search",
        "type": "backtest",
        "strategies": [{"type": "sma_crossover", "parameters": {"fast": 150, "slow": 299}}],
    }
    output = coordinator.execute_workflow(workflow).phase("risk").output
    assert output.figures["trades"] == 0
    assert output.figures["passed"] == 1
    assert "no closed trades to reshuffle" in output.verdict
    assert not any(name.startswith("reshuffled") for name in output.figures)


def test_what_can_not_be_assessed_is_refused(assessed, refusal):
    assert "`of` must name the phase" in refusal(
        assessed(of="", strategies=[{"type": "rsi"}]), ConfigurationError
    )
    assert "limits.max_drawdown" in refusal(assessed(limits={"max_drawdown": 0}), ConfigurationError)
    workflow = assessed()
    workflow["workflow"][0] |= {"type": "validation", "cross_validation": {"folds": 4}}
    assert "the phase 'search' has folds" in refusal(workflow, ConfigurationError)
    workflow = assessed()
    workflow["workflow"].append({"name": "again", "type": "risk_assessment", "of": "risk"})
    assert "there are no trials to analyze in 'risk'" in refusal(workflow, ConfigurationError)


def test_the_template_runs(coordinator):
    result = coordinator.execute_workflow("monte_carlo", ["risk.monte_carlo.samples=200"])
    figures = result.phase("risk").output.figures
    assert figures["days"] == 5031
    assert figures["worst_day"] == pytest.approx(-0.06334, abs=1e-5)
