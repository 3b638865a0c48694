"""Cross-validation: what is chosen sees train bars only, and everything that is said of it is in the log."""

import msgspec
import numpy as np
import pandas as pd
import pytest
from admf import Coordinator
from admf.coordinator.audit.explanation import explain
from admf.domain.bars import Window
from admf.domain.cross_validation import combinatorial_purged, group_windows, paths
from admf.domain.errors import ConfigurationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SPACE = {"cross.fast": [2, 3, 5], "cross.slow": [8, 13]}
SIZES = {"folds": 5, "test_folds": 2, "purge_size": 2, "embargo_size": 12}
SPLITS = combinatorial_purged(Window(0, 300), **SIZES)
FIRST_DAY = pd.Timestamp("2000-01-03")
NAMES = ("n", "outcome_n", "symbol")


def groups_of(file, **changes):
    return {
        "data": {"file": str(file)},
        "execution": {"commission": {"percent": 0.1}, "slippage": {"bps": 3}},
        "strategies": [{"name": "cross", "type": "sma_crossover"}],
        "workflow": [
            {
                "name": "groups",
                "type": "validation",
                "cross_validation": SIZES,
                "optimization": {"parameters": SPACE},
            }
        ],
    } | changes


def carried_out(coordinator, workflow):
    return coordinator.execute_workflow(workflow).phase("groups")


@pytest.fixture
def phase(coordinator, folder):
    return carried_out(coordinator, groups_of(folder / "walk.csv"))


def inside(windows):
    within = np.zeros(300, np.bool_)
    for window in windows:
        within[window.first : window.stop] = True
    return within


def test_each_split_tests_what_is_best_on_its_train_bars(phase):
    trials = phase.trials()
    trained = trials[trials["segment"] == "train"]
    assert phase.output.trials == len(trained) == 6 * len(SPLITS)
    tested = [(number, group) for number, split in enumerate(SPLITS) for group in split.groups]
    windows = group_windows(Window(0, 300), 5)
    assert len(phase.output.folds) == len(tested) == 20
    for fold, (number, group) in zip(phase.output.folds, tested, strict=True):
        own = trained[trained["fold"] == number]
        assert fold.number == number
        assert fold.best.container == own.loc[own["sharpe_ratio"].idxmax(), "container"]
        assert fold.test.parameters == fold.best.parameters
        test = trials.loc[trials["container"] == fold.test.container].iloc[0]
        assert (test["segment"], test["fold"]) == ("test", number)
        assert Window(test["first_bar"], test["stop_bar"]) == windows[group]


def test_train_accounts_trade_train_bars_only_and_are_flat_in_between(phase):
    trials, fills = phase.trials(), phase.fills()
    trained = trials[trials["segment"] == "train"]
    assert len(fills[fills["container"].isin(trained["container"])]) > 300
    for container, number in zip(trained["container"], trained["fold"], strict=True):
        within = inside(SPLITS[number].train)
        own = fills[fills["container"] == container]
        assert within[own["bar"]].all()
        held = phase.equity(container)
        first, last = SPLITS[number].train[0].first, SPLITS[number].train[-1].stop
        assert (held["equity"].diff().to_numpy()[~within[first:last]] == 0).all()


def test_the_choice_is_that_of_the_joined_returns_of_the_train_bars(phase):
    trials = phase.trials()
    trained = trials[trials["segment"] == "train"]
    chosen = []
    for number, split in enumerate(SPLITS):
        own = trained[trained["fold"] == number]
        ratios = []
        for container in own["container"]:
            equity = phase.equity(container)["equity"].to_numpy()
            returns = np.diff(equity, prepend=100_000) / np.r_[100_000, equity[:-1]]
            joined = returns[inside(split.train)[split.train[0].first : split.train[-1].stop]]
            ratios.append(joined.mean() / joined.std(ddof=1) * np.sqrt(252))
        assert np.argsort(ratios).tolist() == np.argsort(own["sharpe_ratio"].to_numpy()).tolist()
        chosen.append(max(ratios))
    assert phase.output.figures["in_sample_sharpe_ratio"] == pytest.approx(np.mean(chosen), rel=0.02)


def test_paths_trade_each_group_with_the_choice_of_another_split(coordinator, phase):
    trials = phase.trials()
    assert trials[trials["segment"] == "stitched"]["container"].tolist() == [
        path.container for path in phase.output.paths
    ]
    best = {fold.number: fold.best.parameters for fold in phase.output.folds}
    windows, signals = group_windows(Window(0, 300), 5), phase.signals()
    for path, numbers in zip(phase.output.paths, paths(5, 2), strict=True):
        equity = phase.equity(path.container)["equity"]
        assert len(equity) == 300
        assert path.metrics["final_equity"] == equity.iloc[-1]
        first = next(fold for fold in phase.output.folds if fold.number == numbers[0])
        alone = phase.equity(first.test.container)["equity"]
        assert equity[:60].tolist() == alone.tolist()
        own = signals[signals["container"] == path.container]
        for window, number in zip(windows, numbers, strict=True):
            part = own[(own["bar"] >= window.first) & (own["bar"] < window.stop)]
            explained = explain(coordinator.workspace.store, f"{phase.stream}#{part['n'].iloc[-1]}")
            assert explained.values["fast"] == best[number]["cross.fast"]
            assert explained.values["slow"] == best[number]["cross.slow"]
    ratios = [path.metrics["sharpe_ratio"] for path in phase.output.paths]
    figures = phase.output.figures
    assert phase.output.metrics["sharpe_ratio"] == figures["sharpe_ratio"] == pytest.approx(np.mean(ratios))
    assert (figures["sharpe_ratio_low"], figures["sharpe_ratio_high"]) == (min(ratios), max(ratios))
    assert phase.output.best is None
    assert f"{figures['probabilistic_sharpe']:.3f}" in phase.output.verdict


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bars")


@pytest.fixture(scope="module")
def shared():
    with Coordinator("memory://") as opened:
        yield opened


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, len(SPLITS) - 1), seed=st.integers(0, 2**16))
def test_bars_of_its_tests_change_nothing_in_the_training_of_a_split(
    shared, shared_folder, write_walk, number, seed
):
    source, other = (write_walk(shared_folder / name) for name in ("walk.csv", "other.csv"))
    bars, tested = pd.read_csv(source), inside(SPLITS[number].test)
    factors = np.exp(np.random.default_rng(seed).normal(0.0, 0.2, 300))[tested]
    for column in ("Open", "High", "Low", "Close"):
        bars.loc[tested, column] *= factors
    bars.to_csv(other, index=False)
    phase, changed = (carried_out(shared, groups_of(file)) for file in (source, other))
    trials = phase.trials()
    own = trials[(trials["fold"] == number) & (trials["segment"] == "train")]["container"]
    for kind in ("signals", "orders", "fills"):
        one, two = (
            rows[rows["container"].isin(own)].reset_index(drop=True)
            for rows in (getattr(phase, kind)(), getattr(changed, kind)())
        )
        dropped = [name for name in NAMES if name in one]
        pd.testing.assert_frame_equal(
            one.drop(columns=dropped), two.drop(columns=dropped), check_exact=True, check_dtype=False
        )
    one, two = (
        next(fold.best for fold in each.output.folds if fold.number == number) for each in (phase, changed)
    )
    assert one.parameters == two.parameters
    assert one.metrics["sharpe_ratio"] == two.metrics["sharpe_ratio"]
    assert phase.output.metrics["final_equity"] != changed.output.metrics["final_equity"]


def test_with_one_group_left_out_there_is_one_path(coordinator, folder):
    workflow = groups_of(folder / "walk.csv")
    workflow["workflow"][0]["cross_validation"] = {"folds": 4, "purge_size": 3}
    phase = carried_out(coordinator, workflow)
    assert [fold.number for fold in phase.output.folds] == [0, 1, 2, 3]
    (path,) = phase.output.paths
    assert path.parameters == phase.output.folds[-1].test.parameters
    assert phase.output.metrics == path.metrics


def test_levels_and_shards_of_any_size_agree(coordinator, folder):
    workflow = groups_of(folder / "walk.csv", shard_size=4)
    workflow["workflow"][0]["optimization"] = {
        "parameters": {"cross.fast": [2, 5], "risk.stop_loss": [1, 2, 4]},
        "constraints": ["trades >= 1"],
    }
    phase = carried_out(coordinator, workflow)
    for change in ({"log": "fills"}, {"log": "metrics"}, {"shard_size": 100}):
        other = carried_out(coordinator, workflow | change)
        assert msgspec.json.encode(other.output) == msgspec.json.encode(phase.output)


def write(path, log_returns):
    closes = 100 * np.exp(np.cumsum(log_returns))
    days = np.datetime64("2000-01-03") + np.arange(closes.size)
    rows = [f"{day},{close},{close},{close},{close},1" for day, close in zip(days, closes, strict=True)]
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows]))


def test_on_random_walks_no_edge_holds_and_where_one_was_planted_it_does(coordinator, folder):
    """The edge: a drift that keeps its sign for 50 bars, which a crossover of averages follows."""
    said = {"walk": [], "edge": []}
    for seed in range(20):
        chance = np.random.default_rng(seed)
        noise = chance.normal(0.0, 0.01, 1000)
        drift = np.repeat(chance.choice([-0.006, 0.006], 20), 50)
        for name, log_returns in (("walk", noise), ("edge", noise + drift)):
            write(folder / f"{name}{seed}.csv", log_returns)
            workflow = groups_of(folder / f"{name}{seed}.csv", log="metrics")
            said[name].append(carried_out(coordinator, workflow).output.verdict.partition(" held")[0])
    assert said["walk"].count("No edge") >= 18
    assert said["edge"].count("An edge") >= 18


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimization": None}, "needs an optimization whose choice it validates"),
        ({"walk_forward": {"train_size": 100, "test_size": 50}}, "and no walk_forward"),
        ({"cross_validation": {"folds": 3, "test_folds": 3}}, "test_folds must be less than folds"),
        ({"cross_validation": {"folds": 3, "purge_size": 200}}, "leaves nothing to train on"),
        ({"cross_validation": {"folds": 400}}, "300 bars can't be cut into 400 folds"),
        ({"optimization": {"parameters": SPACE, "objective": "alpha"}}, "alpha would see the bars"),
        ({"optimization": {"parameters": SPACE, "constraints": ["beta < 1"]}}, "beta would see the bars"),
        ({"type": "optimization"}, "does not use cross_validation"),
    ],
)
def test_what_can_not_be_cross_validated_is_refused(folder, refusal, change, message):
    workflow = groups_of(folder / "walk.csv")
    workflow["workflow"][0] |= change
    if change.get("optimization", 0) is None:
        del workflow["workflow"][0]["optimization"]
    assert message in refusal(workflow, ConfigurationError)
