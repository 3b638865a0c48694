"""Whatever a user may get wrong is refused with the place, what was found and a remedy."""

import pytest
from admf.domain.errors import (
    ConfigurationError,
    DataError,
    NotFoundError,
    UnknownNameError,
)

GOOD = {"data_file": "walk.csv", "strategy": "momentum", "workflow": "backtest"}
BARS = [f"2000-01-{day:02},10,11,9,10,100" for day in range(1, 29)]


def momentum(**parameters):
    return {"strategies": [{"type": "momentum", "parameters": parameters}]}


def phases(*listed):
    return {
        "data_file": "walk.csv",
        "strategy": "momentum",
        "workflow": [
            {"name": f"p{number}", "type": "backtest"} | dict(phase) for number, phase in enumerate(listed)
        ],
    }


def search(**optimization):
    return GOOD | {"workflow": "optimization", "optimization": optimization}


def without(key, **others):
    return {name: value for name, value in (GOOD | others).items() if name != key}


@pytest.mark.parametrize(
    ("workflow", "error", "fragments"),
    [
        (GOOD | {"capitl": 5}, UnknownNameError, ["capitl", "Did you mean capital"]),
        (
            GOOD | {"execution": {"fil": "next_open"}},
            UnknownNameError,
            ["execution", "'fil'", "Did you mean fill"],
        ),
        (
            GOOD | {"execution": {"commission": {"percentage": 1}}},
            UnknownNameError,
            ["workflow.phases[0].execution.commission", "Did you mean percent"],
        ),
        (
            without("strategy", strategies=[{"type": "momentum", "parameter": {}}]),
            UnknownNameError,
            ["workflow.phases[0].strategies[0]", "Did you mean parameters"],
        ),
        (GOOD | {"strategy": "momentm"}, UnknownNameError, ["strategies[0].type", "Did you mean momentum"]),
        (
            without("strategy", **momentum(lookbak=3)),
            UnknownNameError,
            ["strategies[0].parameters", "parameter of momentum 'lookbak'", "Did you mean lookback"],
        ),
        (
            without("strategy", **momentum(lookback=[1, 2])),
            ConfigurationError,
            ["strategies[0].parameters.lookback: a value must be", "was [1, 2]"],
        ),
        (
            without("strategy", **momentum(threshold=float("inf"))),
            ConfigurationError,
            ["parameters.threshold", "finite", "was inf"],
        ),
        (
            without("strategy", **momentum(threshold="1e-3")),
            ConfigurationError,
            [
                "strategies[0].parameters: the parameter 'threshold' of momentum must be a number",
                "was '1e-3'",
            ],
        ),
        (
            without("strategy", **momentum(lookback=True)),
            ConfigurationError,
            ["must be a number", "was True"],
        ),
        (
            without("strategy", **momentum(lookback=0)),
            ConfigurationError,
            ["period=0", "whole number", "was 0"],
        ),
        (without("strategy", **momentum(lookback=2.5)), ConfigurationError, ["whole number", "was 2.5"]),
        (without("strategy", **momentum(lookback=10**9)), ConfigurationError, ["100000", "was 1000000000"]),
        (without("strategy"), ConfigurationError, ["strategies: a phase needs at least one strategy"]),
        (without("data_file"), ConfigurationError, ["data: a phase needs data", "state `data: {file: ...}`"]),
        (without("workflow"), ConfigurationError, ["workflow: must be a list of phases", "was None"]),
        (GOOD | {"workflow": "backtst"}, UnknownNameError, ["unknown workflow", "Did you mean backtest"]),
        (GOOD | {"workflow": "walk_forwrd"}, UnknownNameError, ["Did you mean walk_forward"]),
        (
            GOOD | {"workflow": {"type": "multi_phase", "fases": []}},
            UnknownNameError,
            ["Did you mean phases"],
        ),
        (
            GOOD | {"workflow": {"type": "multi_fase", "phases": [{"name": "a", "type": "backtest"}]}},
            UnknownNameError,
            ["workflow.type", "Did you mean multi_phase"],
        ),
        (GOOD | {"workflow": []}, ConfigurationError, ["workflow: must be a list of phases", "was []"]),
        (GOOD | {"workflow": ["a"]}, ConfigurationError, ["workflow.phases[0]: a phase must be a mapping"]),
        (GOOD | {"workflow": [{"type": "backtest"}]}, ConfigurationError, ["a mapping with a name"]),
        (GOOD | {"workflow": [{"name": "a b", "type": "backtest"}]}, ConfigurationError, ["name", "'a b'"]),
        (phases({"type": "backtes"}), UnknownNameError, ["workflow.phases[0].type", "Did you mean backtest"]),
        (
            phases({}, {"name": "p0"}),
            ConfigurationError,
            ["workflow.phases[1].name: two phases are called 'p0'"],
        ),
        (phases({"depends_on": ["p2"]}, {}), UnknownNameError, ["workflow.phases[0]: unknown phase 'p2'"]),
        (
            phases({"depends_on": "p1"}, {}),
            ConfigurationError,
            ["phases[0].depends_on: must be a list", "'p1'"],
        ),
        (
            phases({"inherit_best_from": "q1"}, {}),
            UnknownNameError,
            ["unknown phase 'q1'", "Did you mean p1"],
        ),
        (
            phases({"depends_on": ["p2"]}, {"depends_on": ["p0"]}, {"inherit_best_from": "p1"}, {}),
            ConfigurationError,
            ["p0, p1, p2 depend on each other in a circle", "remove one dependency"],
        ),
        (phases({"depends_on": ["p0"]}), ConfigurationError, ["p0 depend on each other in a circle"]),
        (phases({"optimization": {}}), ConfigurationError, ["'backtest' does not use optimization"]),
        (phases({"data": 5}), ConfigurationError, ["workflow.phases[0].data", "was 5"]),
        (
            phases({}, {"inherit_best_from": "p0", "data": 5}),
            ConfigurationError,
            ["phases[1].data: must be a mapping"],
        ),
        (
            phases({}) | {"data_file": "walk.csv", "data": 5},
            ConfigurationError,
            ["data: must be a mapping, was 5"],
        ),
        (
            GOOD | {"data": {"file": "other.csv"}},
            ConfigurationError,
            ["data_file: data.file stands beside it"],
        ),
        (
            GOOD | {"data": {"files": {"A": "other.csv"}}},
            ConfigurationError,
            ["data_file: data.files stands beside it"],
        ),
        (GOOD | momentum(), ConfigurationError, ["strategy: strategies stand beside it", "keep one"]),
        (
            phases({"capital": 5}, {"capital": 6}) | {"capital": 7},
            ConfigurationError,
            ["capital: would have no effect", "remove it"],
        ),
        (GOOD | {"optimization": {}}, ConfigurationError, ["optimization: would have no effect"]),
        (
            {"workflow": "train_test", "strategy": "momentum", "data_file": "walk.csv"},
            ConfigurationError,
            ["strategies: would have no effect", "change that of the phase"],
        ),
        (GOOD | {"capital": "much"}, ConfigurationError, ["capital", "was 'much'"]),
        (GOOD | {"capital": -5}, ConfigurationError, ["capital", "greater than 0", "was -5"]),
        (GOOD | {"seed": "x"}, ConfigurationError, ["seed: must be a whole number", "was 'x'"]),
        (GOOD | {"seed": True}, ConfigurationError, ["seed", "was True"]),
        (GOOD | {"strategy": object()}, ConfigurationError, ["must consist of mappings", "object object"]),
        (GOOD | {"execution": {"fill": "now"}}, ConfigurationError, ["fill", "'next_open'", "was 'now'"]),
        (
            GOOD | {"risk": {"position_sizers": [{"type": "percentage", "size": 3}]}},
            ConfigurationError,
            ["position_sizers[0]", "takes exactly one of percentage", "it was given size"],
        ),
        (
            GOOD | {"risk": {"position_sizers": [{"type": "percentage", "percentage": 5}] * 2}},
            ConfigurationError,
            ["position_sizers", "at most 1 item"],
        ),
        (
            GOOD | {"metrics": {"profile": "empirical"}},
            UnknownNameError,
            ["profile", "mean empyrical"],
        ),
        (GOOD | {"data": {"timeframe": "1x"}}, ConfigurationError, ["timeframe", "'1x'", "1d"]),
        (
            without("strategy", strategies=[{"type": "rsi"}, {"type": "rsi"}]),
            ConfigurationError,
            ["strategies: names must differ, were rsi, rsi"],
        ),
        (
            without("strategy", strategies=[{"type": "rsi", "weight": 0.7}, {"type": "momentum"}]),
            ConfigurationError,
            ["give a weight to every strategy, or to none"],
        ),
        (
            without("strategy", strategies=[{"type": kind, "weight": 0.7} for kind in ("rsi", "momentum")]),
            ConfigurationError,
            ["weights must sum to at most 1"],
        ),
    ],
)
def test_a_wrong_workflow_is_refused_before_anything_is_logged(
    refusal, coordinator, workflow, error, fragments
):
    message = refusal(workflow, error)
    assert [fragment for fragment in fragments if fragment not in message] == [], message
    assert coordinator.workspace.store.last_position() == 0


@pytest.mark.parametrize(
    ("workflow", "error", "fragments"),
    [
        (
            search(objective="sharp_ratio"),
            UnknownNameError,
            ["optimization.objective", "Did you mean sharpe_ratio"],
        ),
        (search(direction="up"), ConfigurationError, ["optimization.direction", "'maximize'", "was 'up'"]),
        (search(algorithm="magic"), ConfigurationError, ["optimization.algorithm", "'grid'"]),
        (search(parameters={"momentum.lookbak": [3]}), UnknownNameError, ["Did you mean momentum.lookback"]),
        (search(parameters={"momentum.lookback": 3}), ConfigurationError, ["momentum.lookback", "was 3"]),
        (
            search(parameters={"momentum.lookback": []}),
            ConfigurationError,
            ["momentum.lookback has no values"],
        ),
        (
            search(parameters={"momentum.lookback": [3, "x"]}),
            ConfigurationError,
            ["momentum.lookback", "was 'x'"],
        ),
        (search(parameters={"momentum.lookback": [0, 3]}), ConfigurationError, ["period=0"]),
        (
            search(parameters={"momentum.lookback": [2**70]}),
            ConfigurationError,
            ["momentum.lookback[0]", "64 bits"],
        ),
        (
            search(parameters={"all_in.percentage": [500]}),
            ConfigurationError,
            ["percentage must be at most 100"],
        ),
        (search(parameters={"all_in.percentage": [0]}), ConfigurationError, ["must be positive, was 0.0"]),
        (search(parameters={"all_in.percentage": ["x"]}), ConfigurationError, ["must be numbers, was 'x'"]),
        (
            search(parameters={"momentum.lookback": ["x"]}),
            ConfigurationError,
            ["must be a number", "was 'x'"],
        ),
        (search(constraints=["momentum.lookbak < 3"]), UnknownNameError, ["Did you mean momentum.lookback"]),
        (
            search(constraints=["momentum.lookback <"]),
            ConfigurationError,
            ["'momentum.lookback <'", "must compare"],
        ),
        (
            search(constraints=["__import__('os')"]),
            ConfigurationError,
            ["optimization.constraints", "must compare"],
        ),
        (
            search(constraints=["momentum.lookback > 999"]),
            ConfigurationError,
            ["exclude all 12 trials", "loosen them"],
        ),
        (
            GOOD | {"workflow": "validation", "optimization": {}},
            ConfigurationError,
            ["optimizes only inside of folds", "add walk_forward"],
        ),
        (
            GOOD | {"workflow": "validation", "walk_forward": {"train_size": 290, "test_size": 20}},
            ConfigurationError,
            ["needs 310 bars", "found 300", "Choose smaller sizes"],
        ),
        (
            GOOD | {"workflow": "validation", "walk_forward": {"train_size": 0, "test_size": 20}},
            ConfigurationError,
            ["walk_forward.train_size", "greater than 0", "was 0"],
        ),
        (
            GOOD | {"workflow": "validation", "walk_forward": {"train_size": 9}},
            ConfigurationError,
            ["test_size"],
        ),
    ],
)
def test_a_wrong_search_is_refused_before_anything_is_logged(
    refusal, coordinator, workflow, error, fragments
):
    message = refusal(workflow, error)
    assert [fragment for fragment in fragments if fragment not in message] == [], message
    assert coordinator.workspace.store.last_position() == 0


@pytest.mark.parametrize(
    ("lines", "data", "fragments"),
    [
        (None, {}, ["'bars.csv' must exist", "Bundled: "]),
        ([], {}, ["bars.csv", "only a header"]),
        ([*BARS, BARS[3]], {}, ["row 30", "unsorted", "Sort the rows"]),
        ([*BARS, BARS[-1]], {}, ["row 30", "duplicate", "Remove one"]),
        ([*BARS, "2000-01-29,10,11,9,nan,1"], {}, ["row 30", "close must be a finite number"]),
        ([*BARS, "2000-01-29,10,11,9,ten,1"], {}, ["row 30", "Close must be a number", "'ten'"]),
        ([*BARS, "2000-01-29,10,11,9,,1"], {}, ["row 30", "an empty cell"]),
        ([*BARS, "2000-01-29,10,11,9,-1,1"], {}, ["row 30", "close must be above zero"]),
        ([*BARS, "2000-01-29,10,9,11,10,1"], {}, ["row 30", "high must not be below low"]),
        (BARS, {"start": "2001-01-01"}, ["none from 2001-01-01", "Choose dates within them"]),
        (
            BARS,
            {"start": "2000-01-20", "end": "2000-01-10"},
            ["at least one bar", "2000-01-20 to 2000-01-10"],
        ),
    ],
)
def test_wrong_data_are_refused_before_anything_is_logged(
    refusal, coordinator, folder, lines, data, fragments
):
    if lines is not None:
        text = "\n".join(["Date,Open,High,Low,Close,Volume", *lines])
        (folder / "bars.csv").write_text(text)
    workflow = GOOD | {"data_file": "bars.csv", "data": data}
    message = refusal(workflow, DataError)
    assert [fragment for fragment in fragments if fragment not in message] == [], message
    assert coordinator.workspace.store.last_position() == 0


def test_an_objective_that_no_trial_defines_fails_the_run(refusal, coordinator):
    never = search(objective="win_rate", parameters={"momentum.threshold": [50.0, 60.0]})
    message = refusal(never, ConfigurationError)
    assert "the objective is undefined in all 2 trials" in message
    assert "choose another objective" in message
    ((status, error),) = coordinator.workspace.read_models.query("SELECT status, error FROM runs").rows
    assert status == "failed"
    assert "the objective is undefined" in error


@pytest.mark.parametrize(
    ("text", "error", "fragments"),
    [
        (
            b"workflow: backtest\ncapital: 1\ncapital: 2\n",
            ConfigurationError,
            ["wrong.yaml, line 3", "second time"],
        ),
        (b"workflow: [\n", ConfigurationError, ["wrong.yaml: not valid YAML", "line 2"]),
        (b"- a\n- b\n", ConfigurationError, ["wrong.yaml: a workflow must be a mapping"]),
        (b"", ConfigurationError, ["wrong.yaml: a workflow must be a mapping", "None"]),
        (b"? [a, b]\n: c\n", ConfigurationError, ["wrong.yaml, line 1: a key must be a text"]),
        (b"name: \xff\n", ConfigurationError, ["wrong.yaml", "UTF-8"]),
        (
            b"workflow: !!python/object:os.system {}\n",
            ConfigurationError,
            ["not valid YAML", "could not determine"],
        ),
    ],
)
def test_a_wrong_file_is_refused(refusal, coordinator, folder, text, error, fragments):
    (folder / "wrong.yaml").write_bytes(text)
    message = refusal("wrong.yaml", error)
    assert [fragment for fragment in fragments if fragment not in message] == [], message


def test_a_file_or_template_that_does_not_exist_is_refused_with_the_nearest_template(refusal, coordinator):
    message = refusal("train_tes", NotFoundError)
    assert "there is no workflow file 'train_tes'" in message
    assert "Did you mean train_test?" in message


@pytest.mark.parametrize(
    ("change", "error", "fragments"),
    [
        ("capital", ConfigurationError, ["path=value", "'capital'"]),
        ("training=5", ConfigurationError, ["--set training=5", "name a key below it"]),
        ("workflow=backtest", ConfigurationError, ["name a key below it"]),
        ("capital=[1", ConfigurationError, ["--set capital=[1: the value must be YAML"]),
        ("capital.more=1", ConfigurationError, ["--set capital.more", "has no keys"]),
        ("training.strategies.crss.parameters.fast=1", UnknownNameError, ["'crss'", "Did you mean cross"]),
        ("training.optimization.parameters.cross.fst=[1]", UnknownNameError, ["Did you mean cross.fast"]),
        ("trainin.capital=5", UnknownNameError, ["unknown key 'trainin'"]),
        ("capitl=5", UnknownNameError, ["Did you mean capital"]),
        ("strategies.0.type=rsi", ConfigurationError, ["strategies: would have no effect"]),
    ],
)
def test_a_change_that_does_not_fit_is_refused(refusal, coordinator, change, error, fragments):
    message = refusal("train_test", error, [change])
    assert [fragment for fragment in fragments if fragment not in message] == [], message
