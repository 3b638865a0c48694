"""Classifiers of regimes: each tells, bar by bar, which regime the market is in, from what is known then.

A classifier is fitted to the bars of a sample, and then labels any bars: the label of a bar follows from the
fit and the bars up to it. Labels are the numbers of regimes, in the order of their names, or -1 while there
are too few bars to tell.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..bars import Bars, Window
from ..errors import ConfigurationError, DataError
from ..events import Float64, Int8
from ..registry import Registry
from .hidden_markov import FilteredMarkov, fitted_markov

Labeler = Callable[[Bars], Int8]
Evidence = Callable[[Bars], dict[str, Float64]]
UNKNOWN = -1
"""The label of a bar before which there are too few bars."""


class Setting(msgspec.Struct, frozen=True):
    """How a classifier is set up.

    Attributes
    ----------
    states
        Number of regimes, of those whose number is free.
    window
        Bars that one label looks back on.
    threshold
        How strong a trend must be, in standard deviations of the change over the window.
    """

    states: int = 2
    window: int = 20
    threshold: float = 1.0


class Fitted(NamedTuple):
    """What came of fitting.

    Attributes
    ----------
    labels
        Labels bars.
    evidence
        Returns what the label of each bar was decided by, by name, each of shape (n_bars,); NaN where there
        are too few bars.
    figures
        What evidence is compared with, or the model, by name.
    """

    labels: Labeler
    evidence: Evidence
    figures: Mapping[str, float] = {}


class Classifier(msgspec.Struct, frozen=True):
    """A way to tell regimes.

    Attributes
    ----------
    fit
        Takes bars, the part of them that is the sample, and a setting; says how to label bars. Bars after
        the sample change nothing in it. Raises `DataError` where the sample does not suffice.
    regimes
        Returns the names of the regimes, given the number of states.
    uses
        The fields of the setting that make a difference to it.
    libraries
        What it needs beside the package's own dependencies.
    """

    fit: Callable[[Bars, Window, Setting], Fitted]
    regimes: Callable[[int], tuple[str, ...]]
    uses: frozenset[str]
    libraries: tuple[str, ...] = ()


CLASSIFIERS: Registry[Classifier] = Registry("classifier")


def require_installed(name: str) -> None:
    """Check that the libraries which a classifier needs are there.

    Raises
    ------
    ConfigurationError
        One is not; says how to install it.
    """
    for library in CLASSIFIERS.get(name).libraries:
        if find_spec(library) is None:
            raise ConfigurationError(
                f"the classifier {name!r} needs the library {library}; install it with "
                "`pip install 'admf[regimes]'`, or choose the classifier 'volatility'."
            )


def names_by_volatility(states: int) -> tuple[str, ...]:
    """Name regimes in the order of their volatility: ``calm`` to ``volatile``."""
    between = ("normal",) if states == 3 else tuple(f"normal_{number}" for number in range(1, states - 1))
    return ("calm", *between, "volatile")


def log_returns(bars: Bars) -> Float64:
    """Return the logarithm of each close by the one before, shape (n_bars,); NaN at the first bar."""
    returns = np.full(len(bars), np.nan)
    returns[1:] = np.diff(np.log(bars.close))
    return returns


def realized_volatility(bars: Bars, window: int) -> Float64:
    """Return the standard deviation (ddof 1) of the last `window` log returns; NaN where there are fewer."""
    volatility = np.full(len(bars), np.nan)
    if len(bars) > window:
        volatility[window:] = sliding_window_view(log_returns(bars)[1:], window).std(axis=1, ddof=1)
    return volatility


def fit_volatility(bars: Bars, sample: Window, setting: Setting) -> Fitted:
    """Cut realized volatility at its quantiles in the sample, so that regimes are equally frequent there.

    These quantiles are the figures ``edge_1`` and so on.
    """
    known = realized_volatility(bars.head(sample.stop), setting.window)[sample.first :]
    known = known[np.isfinite(known)]
    if known.size < setting.states:
        raise DataError(
            f"{bars.symbol}: the sample of the classifier has {len(sample)} bars, too few for a volatility "
            f"over {setting.window} bars; choose a longer sample or a shorter window."
        )
    edges = np.quantile(known, np.arange(1, setting.states) / setting.states)

    def evidence(later: Bars) -> dict[str, Float64]:
        return {"volatility": realized_volatility(later, setting.window)}

    def labels(later: Bars) -> Int8:
        volatility = evidence(later)["volatility"]
        found = np.searchsorted(edges, volatility, side="right")
        return np.where(np.isfinite(volatility), found, UNKNOWN).astype(np.int8)

    figures = {f"edge_{number}": float(edge) for number, edge in enumerate(edges, start=1)}
    return Fitted(labels, evidence, figures)


def fit_trend(bars: Bars, sample: Window, setting: Setting) -> Fitted:  # noqa: ARG001
    """Compare the change over the window with what chance would lead to; nothing is fitted.

    The change of the log close, divided by realized volatility and the root of the window, is about a
    standard normal where returns are independent: beyond the threshold it is a trend.
    """
    window = setting.window

    def evidence(later: Bars) -> dict[str, Float64]:
        change = np.full(len(later), np.nan)
        change[window:] = np.log(later.close[window:] / later.close[:-window])
        wanted = setting.threshold * np.sqrt(window) * realized_volatility(later, window)
        return {"change": change, "wanted": wanted}

    def labels(later: Bars) -> Int8:
        found = np.full(len(later), UNKNOWN, np.int8)
        change, wanted = (column[window:] for column in evidence(later).values())
        found[window:] = 1 + (change > wanted).astype(np.int8) - (change < -wanted).astype(np.int8)
        return found

    return Fitted(labels, evidence)


def fit_pattern(bars: Bars, sample: Window, setting: Setting) -> Fitted:  # noqa: ARG001
    """Compare the last bars, as many as the window, with as many before them; nothing is fitted.

    A higher high and a higher low are a rise, a lower high and a lower low a fall, as in Dow theory; all else
    is a range.
    """
    window = setting.window

    def evidence(later: Bars) -> dict[str, Float64]:
        names = ("high", "low", "earlier_high", "earlier_low")
        found = {name: np.full(len(later), np.nan) for name in names}
        if len(later) >= 2 * window:
            highs = sliding_window_view(later.high, window).max(axis=1)
            lows = sliding_window_view(later.low, window).min(axis=1)
            columns = (highs[window:], lows[window:], highs[:-window], lows[:-window])
            for column, values in zip(found.values(), columns, strict=True):
                column[2 * window - 1 :] = values
        return found

    def labels(later: Bars) -> Int8:
        seen = evidence(later)
        high, low = np.sign(seen["high"] - seen["earlier_high"]), np.sign(seen["low"] - seen["earlier_low"])
        found = 1 + np.where(high == low, high, 0.0)
        return np.where(np.isfinite(high), found, UNKNOWN).astype(np.int8)

    return Fitted(labels, evidence)


def fit_hmm(bars: Bars, sample: Window, setting: Setting) -> Fitted:
    """Fit a hidden Markov model to log returns; see `fitted_markov` and `FilteredMarkov`.

    A label is the state that is most probable given the returns up to the bar. The figures ``deviation_1``
    and so on are the standard deviations of returns in the states.
    """
    require_installed("hmm")
    known = log_returns(bars.head(sample.stop))[sample.first :]
    model: FilteredMarkov = fitted_markov(known[np.isfinite(known)], setting.states, bars.symbol)

    names = names_by_volatility(setting.states)

    def evidence(later: Bars) -> dict[str, Float64]:
        likely = np.full((len(later), setting.states), np.nan)
        likely[1:] = model.probabilities(log_returns(later)[1:])
        return {f"probability_{name}": likely[:, state] for state, name in enumerate(names)}

    def labels(later: Bars) -> Int8:
        found = np.full(len(later), UNKNOWN, np.int8)
        found[1:] = np.argmax(np.stack(list(evidence(later).values()), axis=1)[1:], axis=1)
        return found

    deviations = np.sqrt(model.variance).tolist()
    figures = {f"deviation_{number}": each for number, each in enumerate(deviations, start=1)}
    return Fitted(labels, evidence, figures)


CLASSIFIERS.register(
    "volatility", Classifier(fit_volatility, names_by_volatility, frozenset({"states", "window"}))
)
CLASSIFIERS.register(
    "trend",
    Classifier(fit_trend, lambda _: ("falling", "sideways", "rising"), frozenset({"window", "threshold"})),
)
CLASSIFIERS.register(
    "pattern", Classifier(fit_pattern, lambda _: ("falling", "range", "rising"), frozenset({"window"}))
)
CLASSIFIERS.register(
    "hmm", Classifier(fit_hmm, names_by_volatility, frozenset({"states"}), libraries=("hmmlearn",))
)
