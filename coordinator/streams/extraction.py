"""Results taken out of the events of a phase, row by row."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from ...domain.columns import columns_of
from ...domain.events import Column, Event, OrdersFilled, Scalar, SignalsEmitted, TrialsCompleted
from ...eventstore.record import Recorded

Row = dict[str, Scalar]


class ResultExtractor(Protocol):
    """Takes results of one category out of events."""

    result_category: str

    def can_extract(self, event: Event) -> bool:
        """Say whether the event holds results of this category."""

    def extract(self, event: Event) -> list[Row]:
        """Return the results that the event holds, one mapping for each."""


class PortfolioMetricsExtractor:
    """The metrics of each container, with its id."""

    result_category = "portfolio_metrics"

    def can_extract(self, event: Event) -> bool:
        """Say whether the event holds trials."""
        return isinstance(event, TrialsCompleted)

    def extract(self, event: Event) -> list[Row]:
        """Return one row for each container: ``container`` and the metrics."""
        if not isinstance(event, TrialsCompleted):
            return []
        return _rows({"container": event.container, **event.metrics})


class SignalExtractor:
    """Each change of a strategy's target exposure."""

    result_category = "signals"

    def can_extract(self, event: Event) -> bool:
        """Say whether the event holds signals."""
        return isinstance(event, SignalsEmitted)

    def extract(self, event: Event) -> list[Row]:
        """Return one row for each signal, with the fields of `SignalsEmitted`."""
        if not isinstance(event, SignalsEmitted):
            return []
        return _rows(columns_of(event))


class FillExtractor:
    """Each fill."""

    result_category = "fills"

    def can_extract(self, event: Event) -> bool:
        """Say whether the event holds fills."""
        return isinstance(event, OrdersFilled)

    def extract(self, event: Event) -> list[Row]:
        """Return one row for each fill, with the fields of `OrdersFilled`."""
        if not isinstance(event, OrdersFilled):
            return []
        return _rows(columns_of(event))


EXTRACTORS: tuple[ResultExtractor, ...] = (PortfolioMetricsExtractor(), SignalExtractor(), FillExtractor())


def extracted_results(
    trace: Iterable[Recorded], extractors: Iterable[ResultExtractor] = EXTRACTORS
) -> dict[str, list[Row]]:
    """Run extractors over the events of a phase; a category without results is left out."""
    results: dict[str, list[Row]] = {}
    for recorded in trace:
        event = recorded.event
        for extractor in extractors:
            if extractor.can_extract(event):
                results.setdefault(extractor.result_category, []).extend(extractor.extract(event))
    return results


def _rows(columns: Mapping[str, Column]) -> list[Row]:
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]
