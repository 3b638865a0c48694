"""The shipped workflows around analyses run on the bundled data, and decide by what they find."""


def test_research_on_signals_ends_with_two_verdicts(coordinator):
    result = coordinator.execute_workflow(
        "signal_quality_research",
        ["signals.optimization.parameters={cross.fast: [10], cross.slow: [50, 100]}"],
    )
    assert {phase.status for phase in result.phases.values()} == {"completed"}
    quality, classifiers = result.phase("quality").output, result.phase("classifiers").output
    assert quality.figures["cross.volatile.after_10.measured"] > 10
    assert quality.figures["trades.calm.trades"] + quality.figures["trades.volatile.trades"] > 20
    assert 0.0 < classifiers.figures["volatility.volatility_separation"] < 1.0
    assert "volatility_and_trend.adjusted_rand" in classifiers.figures


def test_a_deployment_hands_on_parameters_only_where_nothing_objects(coordinator):
    fewer = ["risk.monte_carlo={samples: 300}"]
    result = coordinator.execute_workflow("production_deployment", fewer)
    assert result.phase("deploy").output.best.parameters == {"cross.fast": 50, "cross.slow": 200}
    strict = coordinator.execute_workflow(
        "production_deployment", [*fewer, "risk.limits={max_drawdown: 5, probability: 0.01}"]
    )
    assert strict.phase("deploy").status == "skipped"
    assert "risk.figures.passed was 0" in strict.phase("deploy").reason


def test_improvement_tunes_weak_regimes_alone_and_is_handed_on_only_if_it_holds(coordinator):
    result = coordinator.execute_workflow("continuous_improvement")
    figures = result.phase("diagnosis").output.figures
    for regime in ("calm", "volatile"):
        weak = figures[f"{regime}.sharpe_ratio"] < 0.5
        assert (result.phase(f"tune_{regime}").status == "completed") == weak
    improved, current = result.phase("improved").output.best, result.phase("current").output.best
    assert improved.parameters["switch.calm_fast"] == 10
    tuned = result.phase("tune_volatile").output.best.parameters
    assert improved.parameters["switch.volatile_slow"] == tuned["switch.volatile_slow"]
    holds = improved.metrics["sharpe_ratio"] > current.metrics["sharpe_ratio"]
    assert (result.phase("update").status == "completed") == holds
    anew = coordinator.execute_workflow("continuous_improvement")
    assert result.phase("patterns").output.figures["searches"] == 0
    assert anew.phase("patterns").output.figures["searches"] == 1
