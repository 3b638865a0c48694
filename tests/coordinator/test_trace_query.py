import pytest
from admf.coordinator.streams.trace_query import TraceQuery, phase_stream
from admf.domain.errors import NotFoundError


@pytest.fixture
def run(coordinator, train_and_test):
    return coordinator.execute_workflow(train_and_test).run


@pytest.fixture
def trace(coordinator):
    return TraceQuery(coordinator.workspace.store)


def test_the_output_of_a_phase_is_what_its_stream_ends_with(coordinator, trace, run):
    output = trace.get_phase_output(run, "training")
    *_, last = coordinator.workspace.store.read(phase_stream(run, "training"))
    assert last.topic == "PhaseOutputEvent"
    assert last.event.output.best.container == output.best.container
    assert trace.output_address(run, "training") == last.address


def test_events_can_be_asked_by_type(trace, run):
    stream = phase_stream(run, "training")
    everything = [recorded.topic for recorded in trace.events(stream)]
    some = [recorded.topic for recorded in trace.events(stream, "OrdersFilled", "TrialsCompleted")]
    assert set(some) == {"OrdersFilled", "TrialsCompleted"}
    assert some == [topic for topic in everything if topic in ("OrdersFilled", "TrialsCompleted")]


def test_a_summary_counts_rows_by_type(coordinator, trace, run):
    summary = trace.summary(phase_stream(run, "training"))
    phase = coordinator.result(run).phase("training")
    assert list(summary) == sorted(summary)
    assert sum(summary.values()) == phase.rows
    assert summary["TrialsCompleted"] == len(phase.trials()) == 7
    assert summary["OrdersFilled"] == len(phase.fills())
    assert summary["PhaseStageEntered"] == 6


def test_a_phase_that_did_not_run_has_no_output_and_no_configuration(trace, run):
    for ask in (trace.get_phase_output, trace.output_address):
        with pytest.raises(NotFoundError, match=r"'testing' of the run .* has handed nothing on"):
            ask(run, "testing")
    with pytest.raises(NotFoundError, match="there is no phase 'testing'"):
        trace.get_phase_configuration(run, "testing")
    assert trace.summary(phase_stream(run, "testing")) == {}
