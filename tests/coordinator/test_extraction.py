import pytest
from admf.coordinator.streams.extraction import (
    EXTRACTORS,
    FillExtractor,
    PortfolioMetricsExtractor,
    SignalExtractor,
    extracted_results,
)


@pytest.fixture
def phase(coordinator, train_and_test):
    return coordinator.execute_workflow(train_and_test).phase("training")


@pytest.fixture
def events(coordinator, phase):
    return list(coordinator.workspace.store.read(phase.stream))


def test_results_are_the_rows_of_the_read_models(phase):
    results = phase.extracted_results
    trials, signals, fills = phase.trials(), phase.signals(), phase.fills()
    assert [row["sharpe_ratio"] for row in results["portfolio_metrics"]] == trials["sharpe_ratio"].tolist()
    for rows, frame, columns in (
        (results["signals"], signals, ["container", "bar", "target"]),
        (results["fills"], fills, ["container", "bar", "quantity", "price", "fee"]),
    ):
        assert [[row[name] for name in columns] for row in rows] == frame[columns].values.tolist()
        assert len(rows) > 20


def test_rows_hold_plain_numbers(phase):
    for rows in phase.extracted_results.values():
        assert {type(value) for row in rows for value in row.values()} == {int, float}


def test_an_extractor_takes_only_its_own_events(events):
    for recorded in events:
        able = [extractor for extractor in EXTRACTORS if extractor.can_extract(recorded.event)]
        assert len(able) <= 1
        for extractor in EXTRACTORS:
            rows = extractor.extract(recorded.event)
            assert len(rows) == (recorded.rows if extractor in able else 0)


def test_a_category_without_results_is_left_out(events):
    control = [recorded for recorded in events if recorded.topic.startswith("Phase")]
    assert len(control) == 8
    assert extracted_results(control) == {}


def test_the_extractors_can_be_chosen(events):
    assert set(extracted_results(events, [FillExtractor()])) == {"fills"}
    assert set(extracted_results(events, [SignalExtractor(), PortfolioMetricsExtractor()])) == {
        "signals",
        "portfolio_metrics",
    }
