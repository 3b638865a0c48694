"""Searches by samplers: what is suggested follows from the configuration and the data alone."""

from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import pytest
from admf import Coordinator
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.configuration.sections import OptimizationSection
from admf.coordinator.phases.samplers import sampler_for
from admf.domain.errors import ChangedError, ConfigurationError, UnknownNameError
from admf.domain.search_space import Range, axes_of, columns_of

RUN = "workflow_20261121_101500_00000000"
ALGORITHMS = ("random", "gradient", "tpe", "genetic", "cma_es")
GP = pytest.param(
    "gp",
    marks=pytest.mark.skipif(
        find_spec("torch") is None,
        reason="Gaussian processes are NOT tested: PyTorch is missing, run `pip install 'admf[gp]'`",
    ),
)
RANGES = {
    "cross.fast": {"low": 2, "high": 12},
    "cross.slow": {"low": 10, "high": 60, "step": 5},
    "risk.stop_loss": {"low": 1.0, "high": 20.0, "log": True},
}


@pytest.fixture
def searching(folder):
    """Make a workflow of one search."""

    def workflow(algorithm="tpe", **study):
        wanted = {"algorithm": algorithm, "trials": 30, "batch": 8, "parameters": RANGES}
        return {
            "name": "search",
            "seed": 5,
            "data": {"file": str(folder / "walk.csv")},
            "strategies": [{"name": "cross", "type": "sma_crossover"}],
            "shard_size": 5,
            "workflow": [{"name": "search", "type": "optimization", "optimization": wanted | study}],
        }

    return workflow


def rows(phase):
    """The trials of a phase, in the order in which they were suggested."""
    return phase.trials().sort_values("container").to_dict("records")


def texts(phase):
    """The trials of a phase as texts, in which what is undefined equals itself."""
    return [{name: repr(value) for name, value in row.items() if name != "n"} for row in rows(phase)]


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, GP])
def test_two_workers_a_second_run_and_a_replay_suggest_the_same(
    coordinator, pooled, searching, heads, algorithm
):
    workflow = searching(algorithm, constraints=["trades >= 3"])
    result = coordinator.execute_workflow(workflow)
    assert heads(pooled.execute_workflow(workflow)) == heads(result)
    assert heads(coordinator.execute_workflow(workflow)) == heads(result)
    (replay,) = coordinator.replay_workflow(result.run)
    assert replay.outcome == "identical"
    assert verify_workspace(coordinator.workspace).violations == ()
    found = rows(result.phase("search"))
    assert all(row["cross.fast"] < row["cross.slow"] for row in found)
    assert all(1.0 <= row["risk.stop_loss"] <= 20.0 for row in found)
    assert result.phase("search").output.trials == len(found) >= 20


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("trials", [16, 21])
def test_the_first_trials_of_a_longer_search_are_those_of_a_shorter_one(
    coordinator, searching, algorithm, trials
):
    short, long = (
        texts(coordinator.execute_workflow(searching(algorithm, trials=count)).phase("search"))
        for count in (trials, 2 * trials)
    )
    assert len(short) < len(long)
    assert long[: len(short)] == short


@pytest.mark.parametrize("algorithm", ["tpe", "genetic"])
def test_killed_at_each_append_a_search_resumes_to_the_same_head(searching, killed_at_each_append, algorithm):
    workflow = searching(algorithm, trials=20, constraints=["trades >= 3"])
    assert killed_at_each_append(workflow, "search") > 6


def test_a_search_that_would_now_suggest_something_else_is_not_carried_on(
    tmp_path, searching, killed, monkeypatch
):
    store = tmp_path / "events.sqlite"
    killed(store, "execute_workflow", searching(), at=8, run=RUN)
    monkeypatch.setattr("admf.coordinator.phases.study.derived_seed", lambda *_: 1)
    with Coordinator(store) as coordinator, pytest.raises(ChangedError, match="with other parameters"):
        coordinator.resume_workflow(RUN)


def test_another_release_of_the_library_that_suggests_is_refused(tmp_path, searching, killed, monkeypatch):
    store = tmp_path / "events.sqlite"
    killed(store, "execute_workflow", searching(), at=8, run=RUN)
    monkeypatch.setattr("admf.coordinator.phases.samplers.version", lambda _: "4.0.0")
    with Coordinator(store) as coordinator, pytest.raises(ChangedError, match=r"optuna was 5\S+, is 4\.0\.0"):
        coordinator.resume_workflow(RUN)


def test_a_fork_searches_again_or_takes_the_search_over(coordinator, searching, heads):
    workflow = searching()
    workflow["workflow"].append({"name": "test", "type": "validation", "inherit_best_from": "search"})
    result = coordinator.execute_workflow(workflow)
    taken = coordinator.fork_workflow(result.run, "test", ["test.capital=5000"])
    assert heads(taken)["search"] == heads(result)["search"]
    again = coordinator.fork_workflow(result.run, "search", ["search.optimization.trials=12"])
    assert texts(again.phase("search")) == texts(result.phase("search"))[:12]
    best = result.phase("search").output.best
    assert result.phase("test").output.metrics["final_equity"] == best.metrics["final_equity"]


def test_what_is_suggested_depends_on_the_seed_and_the_name_of_the_phase(coordinator, searching):
    def suggested(name="search", seed=5, **study):
        workflow = searching("random", trials=8, **study) | {"seed": seed}
        workflow["workflow"][0]["name"] = name
        return [row["risk.stop_loss"] for row in rows(coordinator.execute_workflow(workflow).phase(name))]

    assert suggested() == suggested()
    assert suggested() != suggested(seed=6)
    assert suggested() != suggested(name="other")


def test_a_stated_seed_stands_for_both(coordinator, searching):
    found = []
    for seed, name in ((5, "search"), (6, "other")):
        workflow = searching("random", trials=8) | {"seed": seed}
        workflow["workflow"][0]["name"] = name
        workflow["workflow"][0]["optimization"]["seed"] = 11
        found.append(
            [row["risk.stop_loss"] for row in rows(coordinator.execute_workflow(workflow).phase(name))]
        )
    assert found[0] == found[1]


def test_a_point_is_simulated_once_however_often_it_is_suggested(coordinator, searching):
    few = {"cross.fast": [3, 5, 8], "cross.slow": {"low": 10, "high": 30, "step": 20}}
    for algorithm in ALGORITHMS:
        workflow = searching(algorithm, trials=60, parameters=few)
        phase = coordinator.execute_workflow(workflow).phase("search")
        points = {(row["cross.fast"], row["cross.slow"]) for row in rows(phase)}
        assert phase.output.trials == len(rows(phase)) == len(points) <= 6
        if algorithm == "random":
            assert len(points) == 6


def test_the_best_trial_is_feasible_and_infeasible_ones_are_recorded(coordinator, searching):
    constraint = "trades <= 10"
    for algorithm in ("grid", "random", "tpe"):
        space = {"cross.fast": [2, 4, 8], "cross.slow": {"low": 10, "high": 60, "step": 10}}
        phase = coordinator.execute_workflow(
            searching(algorithm, parameters=space, constraints=[constraint])
        ).phase("search")
        trials = phase.trials()
        feasible = trials[trials["trades"] <= 10]
        assert 0 < len(feasible) < len(trials)
        assert trials["sharpe_ratio"].max() > feasible["sharpe_ratio"].max()
        assert phase.output.best.container == feasible.loc[feasible["sharpe_ratio"].idxmax(), "container"]
    assert verify_workspace(coordinator.workspace).violations == ()


def test_a_search_without_a_feasible_trial_fails_and_counts_what_failed(searching, refusal):
    workflow = searching(constraints=["trades > 10000", "max_drawdown < 2"])
    message = refusal(workflow, ConfigurationError)
    assert "none of the 30 trials satisfies all constraints: 'trades > 10000' failed in 30" in message


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"constraints": ["trads > 3"]}, "optimization.constraints: unknown parameter 'trads'. Did you mean"),
        ({"objectives": ["sharpe"]}, "unknown metric 'sharpe'. Did you mean sharpe_ratio"),
        ({"parameters": {"cross.fats": {"low": 1, "high": 3}}}, "unknown parameter 'cross.fats'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(searching, refusal, study, message):
    assert message in refusal(searching(**study), UnknownNameError)


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"algorithm": "grid"}, "search space: risk.stop_loss is continuous, and a grid tries every value"),
        ({"algorithm": "cma_es", "parameters": {"cross.fast": [2, 3]}}, "needs at least two parameters"),
        (
            {"algorithm": "gradient", "objectives": ["sharpe_ratio", "trades"]},
            "gradient follows one objective",
        ),
        ({"objectives": ["sharpe_ratio", "sharpe_ratio"]}, "a metric stands twice"),
        ({"objectives": ["sharpe_ratio"], "objective": "trades"}, "objectives stand instead of objective"),
        (
            {"algorithm": "random", "constraints": ["cross.fast > 100"]},
            "1,000 suggestions in a row broke one of the constraints",
        ),
        ({"parameters": {"cross.fast": {"low": 9, "high": 3}}}, "low must be less than high"),
        ({"parameters": {"cross.fast": {"low": 0, "high": 3, "log": True}}}, "must begin above zero"),
        ({"parameters": {"cross.fast": {"low": 2}}}, "parameters.cross.fast.high: field required"),
    ],
)
def test_what_can_not_be_searched_is_refused(searching, refusal, study, message):
    assert message in refusal(searching(**study), ConfigurationError)


def test_a_library_that_is_missing_is_named_with_the_remedy(searching, refusal, monkeypatch):
    monkeypatch.setattr("admf.coordinator.phases.samplers.find_spec", lambda _: None)
    message = refusal(searching("gp"), ConfigurationError)
    assert "gp needs optuna and scipy and torch, not installed here; run `pip install 'admf[gp]'`" in message


@pytest.mark.parametrize("algorithm", ["random", "genetic", "tpe"])
def test_several_objectives_have_a_front(coordinator, searching, algorithm):
    wanted = ["sharpe_ratio", {"metric": "max_drawdown", "direction": "minimize"}]
    phase = coordinator.execute_workflow(searching(algorithm, objectives=wanted)).phase("search")
    trials = phase.trials().set_index("container")[["sharpe_ratio", "max_drawdown"]].dropna()
    beaten = {
        one
        for one, a in trials.iterrows()
        for _, b in trials.iterrows()
        if b.iloc[0] >= a.iloc[0] and b.iloc[1] <= a.iloc[1] and (b != a).any()
    }
    front = [trial.container for trial in phase.output.front]
    assert set(front) <= set(trials.index) - beaten
    assert {tuple(trials.loc[one]) for one in front} == {
        tuple(trials.loc[one]) for one in set(trials.index) - beaten
    }
    assert phase.output.best.container == trials.loc[front, "sharpe_ratio"].idxmax()
    assert phase.output.objective == "sharpe_ratio"
    assert verify_workspace(coordinator.workspace).violations == ()


def test_a_front_that_was_tampered_with_is_a_violation(coordinator, searching):
    from admf.coordinator.audit.output_audit import output_faults
    from admf.domain.columns import joined
    from admf.domain.events import TrialsCompleted

    study = {"objectives": ["sharpe_ratio", "max_drawdown"]}
    phase = coordinator.execute_workflow(searching("random", **study)).phase("search")
    events = coordinator.workspace.store.read(phase.stream, topics=[TrialsCompleted.__name__])
    trials = joined([recorded.event for recorded in events])
    section = OptimizationSection.model_validate(study)
    assert list(output_faults(phase.output, trials, section)) == []
    fewer = msgspec.structs.replace(phase.output, front=phase.output.front[1:])
    assert any("the front of the phase must be" in text for text in output_faults(fewer, trials, section))


def test_a_search_stops_when_it_no_longer_comes_further(coordinator, searching):
    def search(**stop):
        return coordinator.execute_workflow(searching("random", trials=96, **stop)).phase("search")

    whole, stopped = search(), search(stop={"patience": 10})
    assert texts(stopped) == texts(whole)[: len(rows(stopped))]
    assert 16 <= len(rows(stopped)) < len(rows(whole))
    best = np.nanargmax([row["sharpe_ratio"] for row in rows(stopped)])
    assert len(rows(stopped)) - 8 - (best + 1) < 10 <= len(rows(stopped)) - (best + 1)


def test_each_fold_of_a_walk_forward_has_a_search_of_its_own(coordinator, pooled, searching, heads):
    workflow = searching(trials=12, constraints=["trades >= 1"])
    workflow["workflow"][0] |= {"type": "validation", "walk_forward": {"train_size": 100, "test_size": 50}}
    result = coordinator.execute_workflow(workflow)
    assert heads(pooled.execute_workflow(workflow)) == heads(result)
    phase = result.phase("search")
    trials = phase.trials()
    trained = trials[trials["segment"] == "train"]
    assert phase.output.trials == len(trained)
    first = []
    for fold in phase.output.folds:
        own = trained[(trained["fold"] == fold.number) & (trained["trades"] >= 1)]
        assert fold.best.container == own.loc[own["sharpe_ratio"].idxmax(), "container"]
        assert fold.test.parameters == fold.best.parameters
        first.append(trained[trained["fold"] == fold.number]["risk.stop_loss"].iloc[0])
    assert len(set(first)) == len(first) == 4
    assert verify_workspace(coordinator.workspace).violations == ()


def test_progress_counts_all_trials_that_there_may_be(coordinator, searching):
    from admf.domain.events import PhaseStarted

    run = coordinator.execute_workflow(searching(trials=12)).run
    (recorded,) = coordinator.workspace.store.read(f"{run}/search", topics=[PhaseStarted.__name__])
    assert recorded.event.planned == 12
    assert set(recorded.event.code) == {"admf", "optuna"}


def hill(study, count=120, seed=3):
    """The best height that a sampler finds on a hill with its top at (0.3, 70); b must be at least 60."""
    axes = axes_of({"a": Range(0.0, 1.0), "b": Range(1, 100)})
    sampler = sampler_for(OptimizationSection(**study), axes, ["maximize"], seed)
    heights = []
    while len(heights) < count:
        batch = []
        while len(batch) < 20 and (point := sampler.ask()) is not None:
            batch.append(point)
        columns = columns_of(axes, batch)
        for a, b in zip(columns["a"].tolist(), columns["b"].tolist(), strict=True):
            height = 1.0 - (a - 0.3) ** 2 - ((b - 70) / 100) ** 2
            breaches = int(b < 60)
            sampler.tell([np.nan if a > 0.9 else height], breaches)
            heights.append(height if not breaches else 0.0)
    return max(heights)


@pytest.mark.parametrize("algorithm", ["gradient", "tpe", "genetic", "cma_es"])
def test_a_sampler_that_learns_climbs_higher_than_chance(algorithm):
    study = {"algorithm": algorithm, "batch": 20}
    learned = [hill(study, seed=seed) for seed in range(5)]
    chance = [hill({"algorithm": "random"}, seed=seed) for seed in range(5)]
    assert np.median(learned) > np.median(chance)
    assert np.median(learned) > 0.999


def test_the_template_runs(tmp_path: Path):
    with Coordinator(tmp_path / "store") as coordinator:
        changes = ["sweep.optimization.trials=40", "sweep.data.start=2006-01-01"]
        result = coordinator.execute_workflow("parameter_sweep", changes)
        sweep = result.phase("sweep").output
        assert sweep.best.metrics["trades"] >= 10
        assert sweep.best.metrics["max_drawdown"] <= 0.35
        assert "of 40 trials the best has" in result.phase("luck").output.verdict
        assert result.phase("out_of_sample").output.trials == 1
        assert f"best of {sweep.trials} trials" in result.summary()


def test_searches_in_branches_that_run_at_once_suggest_what_they_would_alone(coordinator, searching, heads):
    workflow = searching(trials=16)
    (search,) = workflow["workflow"]
    workflow["workflow"] = [
        search | {"name": f"{name}_{number}", "optimization": search["optimization"] | {"algorithm": name}}
        for name in ("tpe", "genetic", "cma_es")
        for number in (1, 2)
    ]
    one = heads(coordinator.execute_workflow(workflow | {"parallel": 1}))
    assert len(set(one.values())) == 6
    assert heads(coordinator.execute_workflow(workflow | {"parallel": 4})) == one
