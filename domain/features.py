"""Features: arrays derived from bars, computed once per distinct feature and parameters.

A feature at bar t depends on bars up to and including t. Bars before it is defined, its warm-up, hold NaN.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import talib

from .bars import Bars
from .errors import ConfigurationError
from .events import Float64, Scalar
from .registry import Registry

SERIES = ("open", "high", "low", "close", "volume")
"""The columns of bars that a feature or a strategy may read."""

LARGEST = 100_000
"""The largest period, and the largest value of any other parameter; TA-Lib accepts no longer period."""


class Feature(msgspec.Struct, frozen=True):
    """One distinct feature: a name in `FEATURES` with its parameters, sorted by name."""

    name: str
    parameters: tuple[tuple[str, Scalar], ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in self.parameters)})"


class FeatureTemplate(msgspec.Struct, frozen=True):
    """A feature whose parameters may name parameters of the strategy that asks for it."""

    name: str
    parameters: tuple[tuple[str, Scalar], ...]

    def fill(self, values: dict[str, Scalar]) -> Feature:
        """Return the feature, with each parameter that is a name replaced by that value of `values`."""
        return Feature(
            self.name,
            tuple(
                (name, values[value] if isinstance(value, str) and value in values else value)
                for name, value in self.parameters
            ),
        )


class FeatureFunction(msgspec.Struct, frozen=True):
    """How a feature is computed: `function` of the bars' `inputs` and the parameters, with their minimum."""

    function: Callable[..., Float64]
    inputs: tuple[str, ...]
    minimum: dict[str, float]


FEATURES: Registry[FeatureFunction] = Registry("feature")


def feature(name: str, **parameters: Scalar) -> FeatureTemplate:
    """Name a feature that a strategy needs.

    Parameters
    ----------
    name
        A registered feature, such as ``"sma"``.
    **parameters
        Its parameters. A string names the parameter of the strategy that holds the value, so
        ``feature("sma", period="fast")`` is the moving average over as many bars as the strategy's ``fast``.
    """
    function = FEATURES.get(name)
    if set(parameters) != set(function.minimum):
        raise ConfigurationError(
            f"feature {name!r} takes the parameters {', '.join(sorted(function.minimum)) or 'none'}; "
            f"it was given {', '.join(sorted(parameters)) or 'none'}."
        )
    return FeatureTemplate(name, tuple(sorted(parameters.items())))


def compute_feature(spec: Feature, bars: Bars) -> Float64:
    """Compute a feature over all bars.

    Returns
    -------
    ndarray of shape (n_bars,)
        NaN during the warm-up; all NaN where there are fewer bars than the warm-up needs.

    Raises
    ------
    ConfigurationError
        A parameter is not a number, a period is not a whole one, or it is out of range.
    """
    definition = FEATURES.get(spec.name)
    arguments = {}
    for name, value in spec.parameters:
        minimum, whole = definition.minimum[name], name == "period"
        if (
            isinstance(value, str | bool)
            or not minimum <= value <= LARGEST
            or (whole and not float(value).is_integer())
        ):
            raise ConfigurationError(
                f"feature {spec}: {name} must be a {'whole ' if whole else ''}number "
                f"from {minimum:g} to {LARGEST}, was {value!r}."
            )
        arguments[name] = int(value) if whole else float(value)
    inputs = [getattr(bars, series) for series in definition.inputs]
    return np.ascontiguousarray(definition.function(*inputs, **arguments), dtype=np.float64)


def feature_table(specs: Sequence[Feature], bars: Bars) -> Float64:
    """Compute distinct features, one row each: a read-only array of shape (n_features, n_bars)."""
    table = np.empty((len(specs), len(bars)))
    for row, spec in enumerate(specs):
        table[row] = compute_feature(spec, bars)
    table.flags.writeable = False
    return table


def _previous(values: Float64) -> Float64:
    return np.concatenate(([np.nan], values[:-1]))


def _zscore(close: Float64, period: int) -> Float64:
    deviation = talib.STDDEV(close, period)
    return np.divide(
        close - talib.SMA(close, period),
        deviation,
        out=np.where(np.isnan(deviation), np.nan, 0.0),
        where=deviation > 0,
    )


def _bollinger_upper(close: Float64, period: int, width: float) -> Float64:
    return talib.SMA(close, period) + width * talib.STDDEV(close, period)


def _bollinger_lower(close: Float64, period: int, width: float) -> Float64:
    return talib.SMA(close, period) - width * talib.STDDEV(close, period)


def _register(name: str, function: Callable[..., Float64], *inputs: str, **minimum: float) -> None:
    FEATURES.register(name, FeatureFunction(function, inputs, minimum))


_register("sma", lambda close, period: talib.SMA(close, period), "close", period=1)
_register("ema", lambda close, period: talib.EMA(close, period), "close", period=1)
_register("rate_of_change", lambda close, period: talib.ROCP(close, period), "close", period=1)
_register("rsi", lambda close, period: talib.RSI(close, period), "close", period=2)
_register("standard_deviation", lambda close, period: talib.STDDEV(close, period), "close", period=2)
_register("zscore", _zscore, "close", period=2)
_register("bollinger_upper", _bollinger_upper, "close", period=2, width=0.0)
_register("bollinger_lower", _bollinger_lower, "close", period=2, width=0.0)
_register("highest", lambda high, period: _previous(talib.MAX(high, period)), "high", period=2)
_register("lowest", lambda low, period: _previous(talib.MIN(low, period)), "low", period=2)
_register(
    "average_true_range",
    lambda high, low, close, period: talib.ATR(high, low, close, period),
    "high",
    "low",
    "close",
    period=1,
)
