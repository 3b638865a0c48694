"""Features: arrays derived from bars, computed once per distinct feature and parameters.

A feature at bar t depends on bars up to and including t. Bars before it is defined, its warm-up, hold NaN.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np

from . import candlesticks, indicators, rolling, sessions  # noqa: F401 - importing them registers their features
from .bars import Bars
from .errors import ConfigurationError
from .events import Float64, Scalar
from .feature_functions import FEATURES, LARGEST, FeatureFunction, Parameter
from .resampling import coarser
from .trading_calendar import sessions_of

__all__ = [
    "FEATURES",
    "LARGEST",
    "SERIES",
    "Feature",
    "FeatureFunction",
    "FeatureTemplate",
    "Parameter",
    "compute_feature",
    "feature",
    "feature_inputs",
    "feature_table",
]

_WORTH_THREADS = 200_000
"""Values of features from which on several threads compute them faster than one."""
SERIES = ("open", "high", "low", "close", "volume")
"""The columns of bars that a feature or a strategy may read."""


class Feature(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """One distinct feature: a name in `FEATURES` with its parameters, sorted by name.

    With a ``timeframe`` it is computed over bars resampled to it, and counts from the bar on at whose close
    they are complete.
    """

    name: str
    parameters: tuple[tuple[str, Scalar], ...]
    timeframe: str = ""

    def __str__(self) -> str:
        said = f"{self.name}({', '.join(f'{name}={value}' for name, value in self.parameters)})"
        return f"{said} of {self.timeframe}" if self.timeframe else said


class FeatureTemplate(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """A feature whose parameters may name parameters of the strategy that asks for it."""

    name: str
    parameters: tuple[tuple[str, Scalar], ...]
    timeframe: str = ""

    def fill(self, values: dict[str, Scalar]) -> Feature:
        """Return the feature, with each parameter that is a name replaced by that value of `values`."""
        return Feature(
            self.name,
            tuple(
                (name, values[value] if isinstance(value, str) and value in values else value)
                for name, value in self.parameters
            ),
            self.timeframe,
        )


def feature(name: str, *, timeframe: str = "", **parameters: Scalar) -> FeatureTemplate:
    """Name a feature that a strategy needs.

    Parameters
    ----------
    name
        A registered feature, such as ``"sma"``.
    timeframe
        Over bars of which timeframe, coarser than those that are traded; by default those. See
        `admf.domain.resampling.Coarser`.
    **parameters
        Its parameters. A string names the parameter of the strategy that holds the value, so
        ``feature("sma", period="fast")`` is the moving average over as many bars as the strategy's ``fast``.
    """
    known = FEATURES.get(name).parameters
    if set(parameters) != set(known):
        raise ConfigurationError(
            f"feature {name!r} takes the parameters {', '.join(sorted(known)) or 'none'}; "
            f"it was given {', '.join(sorted(parameters)) or 'none'}."
        )
    return FeatureTemplate(name, tuple(sorted(parameters.items())), timeframe)


def compute_feature(spec: Feature, bars: Bars) -> Float64:
    """Compute a feature over all bars.

    Returns
    -------
    ndarray of shape (n_bars,)
        NaN during the warm-up; all NaN where there are fewer bars than the warm-up needs.

    Raises
    ------
    ConfigurationError
        A parameter is not a number, is not whole where it counts bars, or is out of range; or the timeframe
        is not a multiple of that of the bars.
    """
    if spec.timeframe:
        coarse = coarser(bars, spec.timeframe)
        return coarse.stretched(_computed(spec, coarse.bars))
    return _computed(spec, bars)


def feature_inputs(spec: Feature, bars: Bars) -> dict[str, Float64]:
    """Return the columns that a feature is computed from, as they were known at each bar."""
    names = [name for name in FEATURES.get(spec.name).inputs if name in SERIES]
    if not spec.timeframe:
        return {name: getattr(bars, name) for name in names}
    coarse = coarser(bars, spec.timeframe)
    return {name: coarse.stretched(getattr(coarse.bars, name)) for name in names}


def _computed(spec: Feature, bars: Bars) -> Float64:
    definition = FEATURES.get(spec.name)
    values = dict(spec.parameters)
    arguments = [
        _number(spec, name, parameter, values[name]) for name, parameter in definition.parameters.items()
    ]
    inputs = [sessions_of(bars) if name == "session" else getattr(bars, name) for name in definition.inputs]
    return np.ascontiguousarray(definition.function(*inputs, *arguments), dtype=np.float64)


def _number(spec: Feature, name: str, parameter: Parameter, value: Scalar) -> int | float:
    if (
        isinstance(value, str | bool)
        or not parameter.minimum <= value <= parameter.maximum
        or (parameter.whole and not float(value).is_integer())
    ):
        raise ConfigurationError(
            f"feature {spec}: {name} must be a {'whole ' if parameter.whole else ''}number "
            f"from {parameter.minimum:g} to {parameter.maximum:.15g}, was {value!r}."
        )
    return int(value) if parameter.whole else float(value)


def feature_table(specs: Sequence[Feature], bars: Bars) -> Float64:
    """Compute distinct features, one row each: a read-only array of shape (n_features, n_bars)."""
    table = np.empty((len(specs), len(bars)))
    coarse = {name: coarser(bars, name) for name in {spec.timeframe for spec in specs} - {""}}

    def fill(row: int) -> None:
        spec = specs[row]
        if spec.timeframe:
            of = coarse[spec.timeframe]
            table[row] = of.stretched(_computed(spec, of.bars))
        else:
            table[row] = _computed(spec, bars)

    if table.size < _WORTH_THREADS:
        for row in range(len(specs)):
            fill(row)
    else:
        # TA-Lib and compiled code let other threads run.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(fill, range(len(specs))))
    table.flags.writeable = False
    return table
