"""Walking a regime back to what its bar was classified by."""

from ...domain.bars import iso_time
from ...domain.errors import ConfigurationError
from ...domain.events import PhaseStarted, RegimesClassified, Scalar
from ...eventstore.store import EventStore
from ..configuration.sections import PhaseSection
from ..market.market_log import MarketLog
from ..phases.classification import classification


def regime_evidence(
    store: EventStore, started: PhaseStarted, event: RegimesClassified, row: int
) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
    """Return what a row of classified bars says, and what that was decided by.

    Parameters
    ----------
    store
        Holds the bars.
    started
        How the phase started.
    event, row
        The bar and its regime.

    Returns
    -------
    values
        The bar, its time, and the number and name of its regime.
    evidence
        The classifier, what it measured at the bar and at the one before, and what it compares that with.

    Raises
    ------
    ConfigurationError
        The phase has no classifier of its own, as one that compares several.
    """
    section = PhaseSection.model_validate_json(started.configuration)
    panel, window = MarketLog(store).window(section, started.feeds)
    found = classification(section, panel.head(window.stop))
    if found is None or section.classifier is None:
        raise ConfigurationError(
            f"the phase {started.phase!r} compares classifiers; explain a regime of a phase with one `classifier`."
        )
    bar, number = int(event.bar[row]), int(event.regime[row])
    time = iso_time(panel.bars[0].time[bar])
    values: dict[str, Scalar] = {"bar": bar, "time": time, "number": number, "name": found.names[number]}
    evidence: dict[str, Scalar] = {"type": section.classifier.type}
    for name, column in found.evidence(panel.bars[0].head(bar + 1)).items():
        evidence[name] = float(column[bar])
        evidence[f"{name} before"] = float(column[bar - 1])
    return values, {**evidence, **found.figures}
