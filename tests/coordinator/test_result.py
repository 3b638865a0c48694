import admf
import pandas as pd
import pytest
from admf import Coordinator
from admf.coordinator.result import shown
from admf.domain.errors import NotFoundError


@pytest.fixture
def result(coordinator, train_and_test):
    return coordinator.execute_workflow(train_and_test)


def test_a_result_can_be_read_like_a_mapping(result):
    assert result["run"] == result.run
    assert result["status"] == "completed"
    assert result["metrics"] == result.metrics
    phases = result["results"]["phase_results"]
    assert list(phases) == ["training", "out_of_sample"]
    assert phases["training"]["head_hash"] == result.phase("training").head_hash
    for key in ("nothing", "_workspace"):
        with pytest.raises(KeyError):
            phases["training"][key]
    with pytest.raises(KeyError):
        result["nothing"]


def test_an_earlier_run_can_be_asked_again(coordinator, result):
    again = coordinator.result(result.run)
    assert again.summary() == result.summary()
    for name, phase in result.phases.items():
        assert again.phase(name).period == phase.period
    assert result.phase("training").period < result.phase("out_of_sample").period
    pd.testing.assert_frame_equal(again.phase("training").trades(), result.phase("training").trades())


def test_another_process_can_ask_what_a_run_left_behind(folder, train_and_test):
    before = admf.run(train_and_test)
    assert (folder / ".admf" / "events.sqlite").is_file()
    with Coordinator() as coordinator:
        assert coordinator.result(before.run).summary() == before.summary()


def test_unknown_runs_and_phases_are_refused(coordinator, result):
    with pytest.raises(NotFoundError, match="there is no run 'workflow_x'; `admf runs` lists"):
        coordinator.result("workflow_x")
    with pytest.raises(NotFoundError, match="no phase 'train'; its phases are training, out_of_sample"):
        result.phase("train")


def test_trials_have_a_column_for_each_parameter_and_metric(result):
    trials = result.phase("training").trials()
    assert trials["container"].tolist() == list(range(7))
    assert trials["cross.fast"].tolist() == [3] * 3 + [5] * 2 + [8] * 2
    assert trials["cross.slow"].tolist() == [13, 21, 5] + [13, 21] * 2
    assert (trials["fold"].isna()).all()
    assert set(trials["segment"]) == {"whole"}


def test_the_equity_curve_is_that_of_the_best_container_unless_another_is_named(result):
    phase = result.phase("training")
    best = phase.output.best.container
    trials = phase.trials()
    for container, curve in ((best, phase.equity()), (0, phase.equity(0))):
        assert set(curve["container"]) == {container}
        assert curve["bar"].is_monotonic_increasing
        assert curve["equity"].iloc[-1] == pytest.approx(trials["final_equity"][container])


def test_returns_by_month_and_year_are_those_of_the_equity_at_their_ends(result):
    phase = result.phase("training")
    for container in (phase.output.best.container, 0):
        equity = phase.equity(container).set_index("time")["equity"]
        ends = equity.resample("ME").last()
        expected = ends / ends.shift(fill_value=100_000.0) - 1.0
        months = phase.monthly_returns(container)
        assert months.index.tolist() == [2000]
        assert months.columns.tolist() == list(range(1, 13))
        for time, value in expected.items():
            assert months.loc[time.year, time.month] == pytest.approx(value, abs=1e-12)
        assert months.loc[2000, 8:].isna().all()
        years = phase.yearly_returns(container)
        assert years.tolist() == pytest.approx([equity.iloc[-1] / 100_000.0 - 1.0])
        assert years.index.tolist() == [2000]


def test_warnings_tell_of_gaps_in_the_data(coordinator, folder, train_and_test):
    lines = (folder / "walk.csv").read_text().splitlines()
    del lines[50:70]
    (folder / "walk.csv").write_text("\n".join(lines))
    result = coordinator.execute_workflow(train_and_test)
    assert len(result.warnings) == 1
    assert "bars seem to be missing between 2000-02-20 and 2000-03-12" in result.warnings[0]


def test_a_summary_shows_the_chosen_parameters_and_head_hashes(result):
    summary = result.summary()
    best = result.phase("training").output.best.parameters
    assert f"best of 7 trials: cross.fast={best['cross.fast']}, cross.slow={best['cross.slow']}" in summary
    for phase in result.phases.values():
        assert phase.head_hash in summary


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("total_return", 0.1234, "12.34%"),
        ("sharpe_ratio", 1.23456, "1.235"),
        ("trades", 1234.0, "1,234"),
        ("win_rate", float("nan"), "-"),
    ],
)
def test_metrics_are_written_for_people(metric, value, text):
    assert shown(metric, value) == text
