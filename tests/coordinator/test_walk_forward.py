"""Walk-forward: what each fold comes to, the account that trades all tests, and that neither looks ahead."""

from itertools import pairwise

import msgspec
import numpy as np
import pandas as pd
import pytest
from admf import Coordinator
from admf.coordinator.audit.explanation import explain
from admf.coordinator.audit.verification import verify_workspace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KINDS = ("signals", "orders", "fills")
PLACES = ["n", "outcome_n", "container"]
SPACE = {"cross.fast": [2, 3, 5], "cross.slow": [13, 21]}


def folds_of(file, **changes):
    """A walk-forward in four or five folds of 45 days, after 100 days of training."""
    sizes = {"train_size": 100, "test_size": 45, "purge_size": 2} | changes.pop("walk_forward", {})
    return {
        "data": {"file": str(file)},
        "execution": {"commission": {"percent": 0.1}, "slippage": {"bps": 3}},
        "strategies": [{"name": "cross", "type": "sma_crossover"}],
        "workflow": [
            {
                "name": "folds",
                "type": "validation",
                "walk_forward": sizes,
                "optimization": {"parameters": SPACE},
            }
        ],
    } | changes


def carried_out(coordinator, workflow):
    return coordinator.execute_workflow(workflow).phase("folds")


def rows_of(phase, kind, container, before=None):
    """What happened in a container, up to a time, without the numbers of rows and containers."""
    frame = getattr(phase, kind)()
    frame = frame[frame["container"] == container]
    if before is not None:
        frame = frame[frame["time"] < before]
    frame = frame.drop(columns=[name for name in PLACES if name in frame]).reset_index(drop=True)
    return frame.astype(object).where(frame.notna(), None)


def exact(value):
    """A value as text, so that undefined metrics equal each other and nothing else does."""
    return msgspec.json.encode(value)


def day(text):
    return text[:10]


def by_hand(fold, workflow):
    """The same fold as two phases: a search over its train dates, and its best on its test dates."""
    (folds,) = workflow["workflow"]
    data = workflow["data"]
    return workflow | {
        "workflow": [
            {
                "name": "train",
                "type": "optimization",
                "data": data | {"start": day(fold.train_start), "end": day(fold.train_end)},
                "optimization": folds["optimization"],
            },
            {
                "name": "test",
                "type": "validation",
                "inherit_best_from": "train",
                "data": {"start": day(fold.test_start), "end": day(fold.test_end)},
            },
        ]
    }


@pytest.mark.parametrize("mode", ["rolling", "anchored"])
def test_done_when_5_each_fold_agrees_with_the_same_fold_run_by_hand(coordinator, folder, mode):
    workflow = folds_of(folder / "walk.csv", walk_forward={"mode": mode})
    phase = carried_out(coordinator, workflow)
    trials = phase.trials()
    assert len(phase.output.folds) == 4
    for fold in phase.output.folds:
        run = coordinator.execute_workflow(by_hand(fold, workflow))
        train, test = run.phase("train"), run.phase("test")
        trained = trials[(trials["fold"] == fold.number) & (trials["segment"] == "train")]
        metrics = list(fold.best.metrics)
        pd.testing.assert_frame_equal(
            trained[metrics].reset_index(drop=True), train.trials()[metrics], check_exact=True
        )
        assert fold.best.parameters == train.output.best.parameters
        assert exact(fold.best.metrics) == exact(train.output.best.metrics)
        assert exact(fold.test.metrics) == exact(test.output.metrics)
        for kind in KINDS:
            pd.testing.assert_frame_equal(
                rows_of(phase, kind, fold.test.container), rows_of(test, kind, 0), check_exact=True
            )


def write_changed(source, target, stop, seed):
    """Copy bars, and multiply those from the row `stop` on by a random walk of their own."""
    bars = pd.read_csv(source)
    chance = np.random.default_rng(seed)
    walk = np.exp(np.cumsum(chance.normal(0.0, 0.05, len(bars) - stop)))
    for column in ("Open", "High", "Low", "Close"):
        bars.loc[stop:, column] *= walk
    bars.to_csv(target, index=False)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bars")


@pytest.fixture(scope="module")
def shared():
    with Coordinator("memory://") as opened:
        yield opened


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from(["rolling", "anchored"]),
    purge=st.integers(0, 8),
    fold=st.integers(0, 2),
    fill=st.sampled_from(["next_open", "same_close", "next_close"]),
    seed=st.integers(0, 2**16),
)
def test_done_when_5_bars_after_a_fold_change_nothing_in_it_or_before_it(
    shared, shared_folder, write_walk, mode, purge, fold, fill, seed
):
    source, other = (write_walk(shared_folder / name) for name in ("walk.csv", "other.csv"))
    sizes = {"mode": mode, "purge_size": purge}
    execution = {"fill": fill, "commission": {"percent": 0.1}}
    files = [folds_of(file, walk_forward=sizes, execution=execution) for file in (source, other)]
    phase = carried_out(shared, files[0])
    stop = 100 + purge + 45 * (fold + 1)
    write_changed(source, other, stop, seed)
    changed = carried_out(shared, files[1])
    end = pd.Timestamp("2000-01-03") + pd.Timedelta(days=stop)
    trials, found = phase.trials(), changed.trials()
    ended = trials.index[(trials["end_time"] < end) & (trials["segment"] != "stitched")]
    assert set(trials["segment"][ended]) == {"train", "test"}
    metrics = ["container", "fold", "start_time", "end_time", *SPACE, *phase.output.metrics]
    pd.testing.assert_frame_equal(trials.loc[ended, metrics], found.loc[ended, metrics], check_exact=True)
    same = slice(0, fold + 1)
    assert exact(phase.output.folds[same]) == exact(changed.output.folds[same])
    assert phase.output.best.metrics != changed.output.best.metrics
    for kind in KINDS:
        one, two = getattr(phase, kind)(), getattr(changed, kind)()
        one, two = (rows[rows["container"].isin(trials["container"][ended])] for rows in (one, two))
        dropped = [name for name in ("n", "outcome_n", "symbol") if name in one]
        pd.testing.assert_frame_equal(
            one.drop(columns=dropped).reset_index(drop=True),
            two.drop(columns=dropped).reset_index(drop=True),
            check_exact=True,
        )
    whole, altered = (each.output.best.container for each in (phase, changed))
    for kind in ("signals", "fills"):
        one, two = rows_of(phase, kind, whole, end), rows_of(changed, kind, altered, end)
        pd.testing.assert_frame_equal(
            one.drop(columns="symbol"), two.drop(columns="symbol"), check_exact=True
        )
    one, two = phase.equity(whole), changed.equity(altered)
    assert (one["equity"] != two["equity"]).any()
    before = one["time"] < end
    assert before.sum() == 45 * (fold + 1)
    assert one["equity"][before].tolist() == two["equity"][before].tolist()


def test_until_the_first_fold_ends_the_account_is_the_test_of_that_fold(coordinator, folder):
    phase = carried_out(coordinator, folds_of(folder / "walk.csv"))
    first, whole = phase.output.folds[0].test.container, phase.output.best.container
    equity = phase.equity(whole)["equity"]
    assert equity[:45].tolist() == phase.equity(first)["equity"].tolist()
    assert len(equity) == 4 * 45
    assert phase.output.metrics["final_equity"] == equity.iloc[-1]


def test_with_the_same_parameters_in_all_folds_it_is_one_backtest(coordinator, folder):
    workflow = folds_of(folder / "walk.csv", risk={"stop_loss": 2, "trailing_stop": 3})
    del workflow["workflow"][0]["optimization"]
    phase = carried_out(coordinator, workflow)
    folds = phase.output.folds
    dates = {"start": day(folds[0].test_start), "end": day(folds[-1].test_end)}
    workflow |= {"data": workflow["data"] | dates, "workflow": "backtest"}
    single = coordinator.execute_workflow(workflow).phase("backtest")
    for kind in KINDS:
        pd.testing.assert_frame_equal(
            rows_of(phase, kind, phase.output.best.container), rows_of(single, kind, 0), check_exact=True
        )
    assert exact(phase.output.metrics) == exact(single.output.metrics)


def test_it_is_a_backtest_of_the_targets_of_each_fold_in_its_window(coordinator, folder):
    """The targets of the tests, as recorded, written into a strategy by hand."""
    workflow = folds_of(folder / "walk.csv")
    phase = carried_out(coordinator, workflow)
    signals, targets = phase.signals(), np.full(300, np.nan)
    for fold in phase.output.folds:
        own = signals[signals["container"] == fold.test.container]
        targets[102 + 45 * fold.number] = 0.0
        targets[own["bar"]] = own["target"]
    assert len({tuple(fold.test.parameters.values()) for fold in phase.output.folds}) > 1
    np.save(folder / "targets.npy", targets)
    (folder / "joined.py").write_text(
        "import numpy as np\n\n\ndef joined(close):\n"
        f"    return np.load({str(folder / 'targets.npy')!r})[: close.size]\n"
    )
    dates = {
        "start": day(phase.output.folds[0].test_start),
        "end": day(phase.output.folds[-1].test_end),
    }
    workflow |= {
        "data": workflow["data"] | dates,
        "strategies": [{"type": "joined.py:joined"}],
        "workflow": "backtest",
    }
    single = coordinator.execute_workflow(workflow).phase("backtest")
    stitched = phase.output.best.container
    for kind in ("orders", "fills"):
        pd.testing.assert_frame_equal(
            rows_of(phase, kind, stitched), rows_of(single, kind, 0), check_exact=True
        )
    assert exact(phase.output.metrics) == exact(single.output.metrics)


HELD = "def held(close, level=1.0):\n    return close * 0 + level\n"


def held(folder, parameters, **changes):
    """A strategy that always wants the same exposure; what is chosen changes with the trend."""
    (folder / "held.py").write_text(HELD)
    days = np.datetime64("2000-01-03") + np.arange(200)
    closes = 100 + np.concatenate([np.arange(110), 110 - np.arange(90)]) * 0.2
    rows = [f"{d},{c},{c + 0.1},{c - 0.1},{c},1000" for d, c in zip(days, closes, strict=True)]
    (folder / "hill.csv").write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows, ""]))
    workflow = folds_of("hill.csv", strategies=[{"type": "held.py:held"}], **changes)
    workflow["workflow"][0] |= {
        "walk_forward": {"train_size": 40, "test_size": 40, "purge_size": 0},
        "optimization": {"parameters": parameters, "objective": "total_return"},
    }
    return workflow


def test_a_position_is_changed_by_the_difference_and_not_sold_and_bought_again(coordinator, folder):
    workflow = held(folder, {"held.level": [0.25, 1.0]}, execution={})
    phase = carried_out(coordinator, workflow)
    assert [fold.best.parameters["held.level"] for fold in phase.output.folds] == [1.0, 1.0, 1.0, 0.25]
    fills = rows_of(phase, "fills", phase.output.best.container)
    orders = rows_of(phase, "orders", phase.output.best.container)
    assert orders["bar"].tolist() == [40, 160]
    assert orders["target"].tolist() == [1.0, 0.25]
    bought, sold = fills["quantity"]
    equity = phase.equity(phase.output.best.container)["equity"]
    price = fills["price"][1]
    left = bought + sold
    assert bought > 0 > sold
    cash = 100_000 - bought * fills["price"][0]
    assert left * price == pytest.approx(0.25 * (cash + bought * price))
    assert len(equity) == 160


def test_a_position_is_resized_when_the_size_of_its_fold_is_another_one(coordinator, folder):
    sizes = {"position_sizers": [{"name": "part", "type": "percentage", "percentage": 50}]}
    workflow = held(folder, {"part.percentage": [20, 80]}, risk=sizes, execution={})
    phase = carried_out(coordinator, workflow)
    stitched = phase.output.best.container
    assert [fold.best.parameters["part.percentage"] for fold in phase.output.folds] == [80, 80, 80, 20]
    fills = rows_of(phase, "fills", stitched)
    assert fills["bar"].tolist() == [41, 161]
    assert len(rows_of(phase, "signals", stitched)) == 1
    equity = phase.equity(stitched)
    assert fills["quantity"].sum() * fills["price"][1] == pytest.approx(0.2 * equity["equity"][121], rel=1e-6)


def test_stops_hold_in_the_folds_that_chose_them(coordinator, folder):
    workflow = held(folder, {"risk.trailing_stop": [0, 4]}, execution={})
    phase = carried_out(coordinator, workflow)
    chosen = [fold.best.parameters["risk.trailing_stop"] for fold in phase.output.folds]
    assert chosen == [0, 0, 0, 4]
    orders = rows_of(phase, "orders", phase.output.best.container)
    assert orders["type"].tolist() == ["market", "trailing_stop"]
    assert orders["bar"].tolist()[1] >= 160


def test_levels_and_explanations_agree(coordinator, folder):
    workflow = folds_of(folder / "walk.csv", risk={"stop_loss": 2})
    workflow["workflow"][0]["optimization"] = {"parameters": SPACE | {"risk.stop_loss": [0, 2]}}
    result = coordinator.execute_workflow(workflow)
    phase = result.phase("folds")
    for level in ("fills", "metrics"):
        assert exact(carried_out(coordinator, workflow | {"log": level}).output) == exact(phase.output)
    signals = phase.signals()
    own = signals[signals["container"] == phase.output.best.container]
    for fold, following in pairwise(phase.output.folds):
        inside = own[(own["time"] >= day(fold.test_start)) & (own["time"] < day(following.test_start))]
        explained = explain(coordinator.workspace.store, f"{phase.stream}#{inside['n'].iloc[-1]}")
        assert explained.values["fast"] == fold.best.parameters["cross.fast"]
        assert explained.values["slow"] == fold.best.parameters["cross.slow"]


def test_several_symbols_with_bars_of_their_own_share_the_account(coordinator, folder, write_walk):
    write_walk(folder / "other.csv", seed=5)
    bars = pd.read_csv(folder / "other.csv")
    bars.drop(index=range(140, 195)).to_csv(folder / "other.csv", index=False)
    workflow = folds_of(folder / "walk.csv", data={"files": {"A": "walk.csv", "B": "other.csv"}})
    phase = carried_out(coordinator, workflow)
    assert set(rows_of(phase, "fills", phase.output.best.container)["symbol"]) == {"A", "B"}
    assert verify_workspace(coordinator.workspace).violations == ()
