"""Regimes of the bars that a phase reads, by a classifier that is fitted to its sample alone."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import NamedTuple

import numpy as np

from ...domain.bars import Bars, Window
from ...domain.errors import ConfigurationError
from ...domain.events import Int8, Regime, RegimesClassified, Scalar
from ...domain.panel import Panel
from ...domain.regimes.classifiers import CLASSIFIERS, Evidence, require_installed
from ...domain.regimes.performance import known_before
from ..configuration.classifier_section import ClassifierSection
from ..configuration.sections import PhaseSection


class Classification(NamedTuple):
    """Bars by regime.

    Attributes
    ----------
    names
        Of the regimes, in the order of their numbers.
    labels
        The regime at the close of each bar of the panel, -1 where it is unknown, shape (n_bars,).
    figures
        Of the fit.
    evidence
        What labels are decided by.
    """

    names: tuple[str, ...]
    labels: Int8
    figures: Mapping[str, float]
    evidence: Evidence

    def event(self, window: Window) -> RegimesClassified:
        """Return the labels of a window, and of the bar before, on which its first bar depends."""
        first = max(window.first - 1, 0)
        bar = first + np.flatnonzero(self.labels[first : window.stop] >= 0)
        return RegimesClassified(
            symbol=np.zeros(bar.size, np.int16), bar=bar.astype(np.int32), regime=self.labels[bar]
        )

    def decided_by(self, bars: Bars, bar: int) -> dict[str, Scalar]:
        """Return what the label of a bar was decided by, there and at the bar before, and the fit."""
        values: dict[str, Scalar] = {}
        for name, column in self.evidence(bars.head(bar + 1)).items():
            values[name] = float(column[bar])
            values[f"{name} before"] = float(column[bar - 1]) if bar else float("nan")
        return {**values, **self.figures}

    def regimes(self, window: Window) -> tuple[Regime, ...]:
        """Name the regimes, and count the bars of the window before which each was the last one known."""
        known = known_before(self.labels, window.first)[: len(window)]
        counts = [int((known == number).sum()) for number in range(len(self.names))]
        return tuple(
            Regime(name=name, bars=bars, metrics={}, best=None)
            for name, bars in zip(self.names, counts, strict=True)
        )


def require_classifiable(section: PhaseSection, classifier: ClassifierSection, where: str) -> None:
    """Check that a classifier is there, and can be fitted to the bars of a phase.

    Raises
    ------
    ConfigurationError
        It can't; ``where`` it stands in the configuration is named.
    """
    if section.data and len(section.data.sources) != 1:
        raise ConfigurationError(
            f"phase {section.name!r}: regimes are those of one symbol, and the phase reads "
            f"{len(section.data.sources)}; analyze phases of one symbol each."
        )
    CLASSIFIERS.get(classifier.type, f"{where}.type")
    require_installed(classifier.type)
    fit, end, data = classifier.fit, classifier.fit.end, section.data
    if (
        end
        and data
        and not fit.start
        and ((data.end and end > data.end) or (data.start and end < data.start))
    ):
        raise ConfigurationError(
            f"{where}.fit.end: {end} must be in the period, from {data.start or 'the first bar'} "
            f"to {data.end or 'the last'}; choose a day in it, or leave it out to fit to all of it."
        )


def classification(section: PhaseSection, panel: Panel) -> Classification | None:
    """Fit the classifier of a phase, if it has one, to the bars of its sample, and label all bars.

    Raises
    ------
    ConfigurationError
        The phase reads several symbols.
    DataError
        The sample does not suffice.
    """
    return classified(section, section.classifier, panel) if section.classifier else None


def classified(section: PhaseSection, wanted: ClassifierSection, panel: Panel) -> Classification:
    """Do as `classification` does, by any classifier."""
    data = section.data
    if len(panel.bars) != 1:
        raise ConfigurationError(
            f"phase {section.name!r}: regimes are those of one symbol, and the phase reads "
            f"{len(panel.bars)}; leave out the classifier, and weights by regime."
        )
    classifier, bars = CLASSIFIERS.get(wanted.type), panel.bars[0]
    sample = panel.window(wanted.fit.start or (data.start if data else None), wanted.fit.end)
    fitted = classifier.fit(bars, sample, wanted.setting)
    names = classifier.regimes(wanted.states)
    return Classification(names, fitted.labels(bars), fitted.figures, fitted.evidence)


def classifier_code(section: PhaseSection) -> dict[str, str]:
    """Return the version of each library that classifies: another one may classify otherwise."""
    classifiers = (*([section.classifier] if section.classifier else ()), *(section.classifiers or ()))
    libraries = {name for each in classifiers for name in CLASSIFIERS.get(each.type).libraries}
    return {name: version(name) for name in sorted(libraries)}
