"""Searches over sizing rules and the drawdown that halts trading, beside sizes and exits."""

import pytest
from admf.domain.errors import ConfigurationError, UnknownNameError

SIZES = {"position_size.type": ["percentage", "volatility", "kelly"], "position_size.percentage": [20, 60]}
HALTS = {"risk.limits.max_drawdown": [0, 5.0]}


def sweep(folder, **parameters):
    return {
        "data": {"file": str(folder / "walk.csv")},
        "strategies": [{"name": "cross", "type": "sma_crossover", "parameters": {"fast": 3, "slow": 8}}],
        "risk": {"position_sizers": [{"type": "percentage", "percentage": 50, "minimum_trades": 3}]},
        "workflow": [
            {"name": "signals", "type": "backtest", "log": "full"},
            {
                "name": "risk",
                "type": "signal_replay",
                "signals_from": "signals",
                "optimization": {"parameters": parameters},
            },
            {"name": "again", "type": "validation", "inherit_best_from": "risk"},
        ],
    }


def test_each_setting_does_what_it_does_when_it_is_written(coordinator, folder):
    result = coordinator.execute_workflow(sweep(folder, **SIZES, **HALTS))
    trials = result.phase("risk").trials()
    # After its first trades this walk leaves Kelly no edge, whatever its size.
    assert (len(trials), trials["total_return"].nunique()) == (12, 7)
    for _, trial in trials.iterrows():
        sizer = {"type": trial["position_size.type"], "percentage": trial["position_size.percentage"]}
        written = {
            **{key: value for key, value in sweep(folder).items() if key != "workflow"},
            "workflow": "backtest",
            "risk": {
                "position_sizers": [{**sizer, "minimum_trades": 3}],
                "limits": {"max_drawdown": trial["risk.limits.max_drawdown"]},
            },
        }
        alone = coordinator.execute_workflow(written).metrics
        assert {name: trial[name] for name in alone} == pytest.approx(alone, rel=0, abs=0, nan_ok=True)
    best = result.phase("risk").output.best
    assert result.phase("again").output.best.metrics == pytest.approx(best.metrics, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"position_size.type": ["kely"]},
            UnknownNameError,
            "unknown sizing rule 'kely'. Did you mean kelly",
        ),
        ({"risk.limits.max_drawdown": [100]}, ConfigurationError, "must be at least 0 and less than 100"),
    ],
)
def test_settings_that_there_are_not_are_refused(refusal, folder, parameters, error, message):
    assert message in refusal(sweep(folder, **parameters), error)
