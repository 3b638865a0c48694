"""Regimes of the bars that a phase reads, by a classifier that is fitted to the begin of its period."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import NamedTuple

from ...domain.errors import ConfigurationError
from ...domain.events import Int8
from ...domain.regimes.classifiers import CLASSIFIERS, require_installed
from ..configuration.classifier_section import ClassifierSection
from ..configuration.sections import PhaseSection
from .context import PhaseContext


class Classification(NamedTuple):
    """Names of regimes, the number of that of each bar, -1 where it is unknown, and figures of the fit."""

    names: tuple[str, ...]
    labels: Int8
    figures: Mapping[str, float]


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
    end, data = classifier.fit.end, section.data
    if end and data and ((data.end and end > data.end) or (data.start and end < data.start)):
        raise ConfigurationError(
            f"{where}.fit.end: {end} must be in the period, from {data.start or 'the first bar'} "
            f"to {data.end or 'the last'}; choose a day in it, or leave it out to fit to all of it."
        )


def classification(context: PhaseContext, wanted: ClassifierSection) -> Classification:
    """Fit a classifier to the bars from the start of the period to ``fit.end``, and label all bars."""
    classifier, bars, data = CLASSIFIERS.get(wanted.type), context.panel.bars[0], context.section.data
    sample = context.panel.window(data.start if data else None, wanted.fit.end)
    fitted = classifier.fit(bars, sample, wanted.setting)
    return Classification(classifier.regimes(wanted.states), fitted.labels(bars), fitted.figures)


def classifier_code(section: PhaseSection) -> dict[str, str]:
    """Return the version of each library that classifies: another one may classify otherwise."""
    libraries = CLASSIFIERS.get(section.classifier.type).libraries if section.classifier else ()
    return {name: version(name) for name in libraries}
