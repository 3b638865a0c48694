"""The shapes of configuration and use that the design documents show, as they are written there."""

import re

import admf
import pandas as pd
import pytest
import yaml

MULTI_PHASE = """
workflow:
  type: multi_phase_optimization

  phases:
    - name: strategy_discovery
      type: optimization                # Use existing workflow types

      # Simple strategy configs using existing patterns
      strategies:
        - name: momentum_strategy
          type: momentum                # Existing type mapping
          parameters:                   # Simple parameter dict
            lookback: 20
            threshold: 0.02

        - name: mean_reversion
          type: mean_reversion          # Existing type mapping
          parameters:
            lookback: 14
            threshold: 2.0

      # Simple risk config using existing patterns
      risk:
        position_sizers:
          - name: fixed_size
            type: fixed
            size: 10000

      optimization:
        parameters:
          momentum_strategy.lookback: [10, 15, 20, 25, 30]
          momentum_strategy.threshold: [0.01, 0.015, 0.02, 0.025]
        objective: sharpe_ratio

    - name: risk_optimization
      type: backtest                    # Simple backtest of winners
      inherit_best_from: strategy_discovery  # Simple inheritance

      # Only specify what's different from phase 1
      risk:
        position_sizers:
          - name: optimized_size
            type: percentage
            percentage: 5.0
"""


def test_the_multi_phase_file_runs_with_data(coordinator, folder):
    (folder / "discovery.yaml").write_text(f"data: {{file: walk.csv}}\n{MULTI_PHASE}")
    result = coordinator.execute_workflow("discovery.yaml")
    assert list(result.phases) == ["strategy_discovery", "risk_optimization"]
    trials = result.phase("strategy_discovery").trials()
    assert len(trials) == 5 * 4
    best = result.phase("strategy_discovery").output.best
    assert best.metrics["sharpe_ratio"] == trials["sharpe_ratio"].max()
    assert set(best.parameters) == {"momentum_strategy.lookback", "momentum_strategy.threshold"}
    fills = result.phase("risk_optimization").fills()
    values = (fills["position"] * fills["price"]).abs()
    assert 0 < values.max() < 0.06 * 100_000
    discovery = result.phase("strategy_discovery").fills().query(f"container == {best.container}")
    assert (discovery["position"] * discovery["price"]).abs().max() == pytest.approx(10_000, rel=0.01)


def test_the_dictionary_with_a_template_runs(coordinator, folder, write_walk):
    write_walk(folder / "SPY.csv", bars=1200, seed=3)
    result = coordinator.execute_workflow(
        {"workflow": "walk_forward", "strategy": "momentum", "data_file": "SPY.csv"}
    )
    phase_results = result["results"]["phase_results"]
    assert list(phase_results) == ["walk_forward"]
    for phase_data in phase_results.values():
        extracted = phase_data["extracted_results"]
        assert isinstance(extracted["portfolio_metrics"][0]["sharpe_ratio"], float)
        assert "signals" in extracted
        assert len(extracted["signals"]) > 100
        assert len(extracted["fills"]) > 100
    phase = result.phase("walk_forward")
    assert len(phase.output.folds) == 5
    assert set(phase.trials()) >= {"momentum.lookback", "momentum.threshold", "sharpe_ratio"}
    assert set(phase.fills()["symbol"]) == {"SPY"}


def test_the_python_example_runs(folder):
    result = admf.run("train_test", store="memory://")
    summary = result.summary()
    assert result.status == "completed"
    assert re.search(r"training \(optimization, completed, [\d,]+ rows\)", summary)
    assert summary.count("head hash") == 2
    trials = result.phase("training").trials()
    fills = result.phase("out_of_sample").fills()
    assert isinstance(trials, pd.DataFrame)
    assert isinstance(fills, pd.DataFrame)
    assert len(trials) == 25
    assert (trials["cross.fast"] < trials["cross.slow"]).all()
    assert fills["time"].min() >= pd.Timestamp("2011-01-01")
    assert result["metrics"] == result.phase("out_of_sample").output.metrics


def test_a_workflow_of_a_single_phase_is_named_by_its_type(coordinator, folder):
    text = "workflow: backtest\nstrategies: [{type: momentum}]\ndata: {file: walk.csv}\n"
    (folder / "single.yaml").write_text(text)
    result = coordinator.execute_workflow(folder / "single.yaml")
    assert [(phase.name, phase.type) for phase in result.phases.values()] == [("backtest", "backtest")]
    assert result.name == "single"
    assert result["status"] == "completed"


def test_the_same_workflow_may_come_as_a_mapping(coordinator, folder, heads):
    (folder / "discovery.yaml").write_text(f"data: {{file: walk.csv}}\n{MULTI_PHASE}")
    mapping = {"data": {"file": folder / "walk.csv"}, **yaml.safe_load(MULTI_PHASE)}
    written = repr(mapping)
    from_file = heads(coordinator.execute_workflow("discovery.yaml"))
    from_mapping = heads(coordinator.execute_workflow(mapping, ["data.file=walk.csv"]))
    assert from_mapping == from_file
    assert repr(mapping) == written
