"""Patterns of winning trials, from searches of this run and of earlier runs in the store."""

import io
from pathlib import Path

import numpy as np
import pytest
from admf import Coordinator
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.streams.archive import import_archive, write_archive
from admf.domain.errors import ChangedError, ConfigurationError, NotFoundError
from admf.domain.events import PatternsDiscovered, PhaseStarted

RUN = "workflow_20261121_101500_00000000"
STRATEGIES = [{"name": "cross", "type": "sma_crossover"}]
SPACE = {"cross.fast": list(range(2, 14)), "cross.slow": list(range(20, 60, 2))}


@pytest.fixture
def search(folder):
    """Make a workflow of a search, with other phases after it."""

    def workflow(*later, file="walk.csv", name="searched", space=SPACE):
        first = {"name": "search", "type": "optimization", "log": "metrics"}
        return {
            "name": name,
            "data": {"file": str(folder / file)},
            "strategies": STRATEGIES,
            "workflow": [first | {"optimization": {"parameters": space}, "shard_size": 100}, *later],
        }

    return workflow


PATTERNS = {"name": "patterns", "type": "pattern_discovery", "of": "search"}
AGAIN = {
    "name": "again",
    "type": "optimization",
    "optimization": {"parameters": "${patterns.space}"},
}


def test_patterns_are_rows_that_agree_with_the_trials_and_become_a_search_space(coordinator, search):
    result = coordinator.execute_workflow(search(PATTERNS | {"patterns": {"best": 0.25}}, AGAIN))
    output, query = result.phase("patterns").output, coordinator.workspace.read_models.frame
    rows = query("SELECT * FROM patterns ORDER BY n")
    assert len(rows) >= 1
    trials = result.phase("search").trials()
    metrics = query("SELECT container, sharpe_ratio FROM portfolio_metrics WHERE phase = 'search'")
    winners = set(metrics.sort_values("sharpe_ratio", ascending=False)["container"][:60])
    for pattern, conditions in rows.groupby("pattern"):
        inside = trials
        for row in conditions.to_dict("records"):
            values = inside[row["parameter"]]
            inside = inside[(values >= row["low"]) & (values <= row["high"])]
        row = conditions.iloc[0]
        assert row["support"] == len(inside)
        assert row["winners"] == len(winners & set(inside["container"]))
        assert row["lift"] == pytest.approx(row["winners"] / row["support"] / (60 / 240))
        assert row["p_value"] <= 0.05
        assert pattern < output.figures["patterns"]
    assert output.figures == {
        "searches": 1,
        "trials": 240,
        "winners": 60,
        "patterns": rows["pattern"].nunique(),
    }
    assert output.best == result.phase("search").output.best
    again = result.phase("again").trials()
    assert {name: tuple(sorted(set(again[name]))) for name in SPACE} == output.space
    assert len(again) < 240
    assert "That is what won, not what will win" in result.summary()


def test_a_reference_leads_to_the_values_of_one_parameter(coordinator, search):
    narrow = AGAIN | {"optimization": {"parameters": {"cross.fast": "${patterns.space.cross.fast}"}}}
    result = coordinator.execute_workflow(search(PATTERNS, narrow))
    assert set(result.phase("again").trials()["cross.fast"]) == set(
        result.phase("patterns").output.space["cross.fast"]
    )


def learning(search, **wanted):
    """A run that searches nothing before it has learned from others."""
    workflow = search(name="learning")
    workflow["workflow"] = [
        {"name": "patterns", "type": "pattern_discovery", "patterns": {"runs": "all"} | wanted},
        AGAIN,
    ]
    return workflow


def test_a_later_run_learns_from_earlier_ones_and_records_what_it_read(
    coordinator, search, write_walk, folder
):
    write_walk(folder / "other.csv", seed=2)
    first = coordinator.execute_workflow(search())
    coordinator.execute_workflow(search())
    second = coordinator.execute_workflow(search(file="other.csv"))
    strange = search(name="strange", space={"risk.stop_loss": [1, 2]})
    strange["strategies"] = [{"name": "cross", "type": "rsi"}]
    coordinator.execute_workflow(strange)
    result = coordinator.execute_workflow(learning(search))
    output = result.phase("patterns").output
    # The second run did what the first did, and the last one searched for something else.
    assert output.figures["searches"] == 2
    assert output.figures["trials"] == 480
    assert len(result.phase("again").trials()) == np.prod([len(each) for each in output.space.values()])
    (started,) = [
        recorded.event
        for recorded in coordinator.workspace.store.read(result.phase("patterns").stream)
        if isinstance(recorded.event, PhaseStarted)
    ]
    heads = [run.phase("search").head_hash for run in (first, second)]
    assert [source.head_hash for source in started.sources] == heads
    assert [source.stream for source in started.sources] == [f"{r.run}/search" for r in (first, second)]
    assert result.phase("patterns").output.best is None
    assert result.summary()


def test_what_is_searched_later_changes_neither_replay_nor_verification(
    coordinator, search, write_walk, folder
):
    write_walk(folder / "other.csv", seed=2)
    coordinator.execute_workflow(search())
    result = coordinator.execute_workflow(learning(search))
    coordinator.execute_workflow(search(file="other.csv"))
    assert {each.outcome for each in coordinator.replay_workflow(result.run)} == {"identical"}
    assert verify_workspace(coordinator.workspace).violations == ()
    assert verify_workspace(coordinator.workspace, result.run).violations == ()
    anew = coordinator.execute_workflow(learning(search))
    # By now there are two more searches: that of other bars, and that of the first run that learned.
    assert anew.phase("patterns").output.figures["searches"] == 3


def test_runs_are_chosen_by_id_or_by_the_name_of_their_workflow(coordinator, search, write_walk, folder):
    write_walk(folder / "other.csv", seed=2)
    first = coordinator.execute_workflow(search())
    coordinator.execute_workflow(search(file="other.csv", name="another"))
    for wanted in ({"runs": [first.run[-8:]]}, {"workflow": "searched"}):
        found = coordinator.execute_workflow(learning(search, **wanted)).phase("patterns").output
        assert found.figures["trials"] == 240
    with pytest.raises(NotFoundError, match="there is no run 'nowhere' in this store"):
        coordinator.execute_workflow(learning(search, runs=["nowhere"]))


def test_the_same_trial_on_the_same_bars_counts_once(coordinator, search):
    coordinator.execute_workflow(search())
    coordinator.execute_workflow(search(space=SPACE | {"cross.fast": [12, 13, 14]}))
    output = coordinator.execute_workflow(learning(search)).phase("patterns").output
    assert output.figures["searches"] == 2
    assert output.figures["trials"] == 240 + 20


def test_without_anything_to_learn_from_the_whole_space_is_searched(coordinator, search):
    result = coordinator.execute_workflow(learning(search))
    assert result.phase("patterns").output.verdict == "There are no earlier searches to learn from yet."
    assert len(result.phase("again").trials()) > 5


def test_an_archive_carries_the_runs_that_were_read(coordinator, search, tmp_path):
    first = coordinator.execute_workflow(search())
    result = coordinator.execute_workflow(learning(search))
    file = io.BytesIO()
    write_archive(coordinator.workspace.store, result.run, file)
    path = Path(tmp_path / "learned.admf")
    path.write_bytes(file.getvalue())
    with Coordinator("memory://") as elsewhere:
        import_archive(elsewhere.workspace.store, path)
        assert verify_workspace(elsewhere.workspace).violations == ()
        assert elsewhere.workspace.store.head(first.run).version
        assert {each.outcome for each in elsewhere.replay_workflow(result.run)} == {"identical"}


def test_killed_at_each_append_it_reads_the_same_after_a_resume(tmp_path, search, killed, heads):
    workflow = learning(search, workflow="searched")
    store = tmp_path / "events.sqlite"
    with Coordinator(store) as coordinator:
        coordinator.execute_workflow(search())
    appends = killed(store, "execute_workflow", workflow, at=0, run=RUN)
    with Coordinator(store) as coordinator:
        expected = heads(coordinator.resume_workflow(RUN))
    for fatal in range(3, appends + 1):
        run = f"workflow_20261121_101500_{fatal:08x}"
        killed(store, "execute_workflow", workflow, at=fatal, run=run)
        with Coordinator(store) as coordinator:
            resumed = coordinator.resume_workflow(run)
            assert resumed.phase("patterns").output.figures["searches"] == 1, f"killed at append {fatal}"
            assert heads(resumed)["again"] == expected["again"]


def test_a_store_without_the_run_that_was_read_says_so(coordinator, search):
    first = coordinator.execute_workflow(search())
    result = coordinator.execute_workflow(learning(search))
    store = coordinator.workspace.store
    with Coordinator("memory://") as elsewhere:
        for recorded in store.read_all():
            if not recorded.stream.startswith(first.run):
                stored = elsewhere.workspace.store._mapper.to_stored_event(recorded)
                elsewhere.workspace.store._recorder.insert_events([stored])
        with pytest.raises(ChangedError, match="this store has another one, or none"):
            elsewhere.replay_workflow(result.run, phase="patterns")
        found = verify_workspace(elsewhere.workspace, result.run).violations
        assert any(each.rule == "phase" and "must end with event" in each.message for each in found)


def test_what_is_published_is_readable_and_what_can_not_be_discovered_is_refused(
    coordinator, search, refusal
):
    result = coordinator.execute_workflow(search(PATTERNS))
    stream = coordinator.workspace.store.read(result.phase("patterns").stream)
    (event,) = [each.event for each in stream if isinstance(each.event, PatternsDiscovered)]
    assert set(event.words["parameter"]) <= set(SPACE)
    assert "or `patterns.runs` earlier runs" in refusal(search(PATTERNS | {"of": ""}), ConfigurationError)
    unnamed = PATTERNS | {"patterns": {"workflow": "searched"}}
    assert "state `runs: all` beside it" in refusal(search(unnamed), ConfigurationError)


def test_a_search_of_too_few_trials_for_one_to_win_is_left_out(coordinator, search):
    coordinator.execute_workflow(search(space={"cross.fast": [2, 3], "cross.slow": [10, 20]}))
    for best, searches in ((0.2, 0), (0.25, 1)):
        workflow = learning(search, best=best, workflow="searched")
        output = coordinator.execute_workflow(workflow).phase("patterns").output
        assert output.figures["searches"] == searches
