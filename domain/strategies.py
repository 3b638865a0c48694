"""Strategies: functions of features that return a target exposure for each bar.

A strategy is a plain function. Each argument named after a feature that it declares receives that feature,
each argument named after a column of bars receives that column, and every other argument is a parameter. It
returns one value per bar: the exposure that it wishes to hold after the bar's close, from -1 (all short) to 1
(all long); NaN means "as before", and flat until the first opinion. The same function serves every phase.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from .compiled import compiled
from .errors import ConfigurationError, StrategyError, UnknownNameError
from .events import Float64, Scalar
from .features import SERIES, Feature, FeatureTemplate, feature
from .registry import Registry
from .scans import next_above


class Strategy(msgspec.Struct, frozen=True):
    """A registered strategy.

    Attributes
    ----------
    name
        Its type name in configurations.
    function
        Maps features, columns of bars and parameters, given by name, to target exposures.
    arguments
        Names of the function's arguments.
    features
        The features that it needs, by argument name.
    parameters
        Its parameters with their defaults, also those that only its features use.
    space
        Values that a grid search tries where the configuration names none.
    constraints
        Relations that parameters must satisfy, such as ``fast < slow``.
    """

    name: str
    function: Callable[..., Float64]
    arguments: tuple[str, ...]
    features: Mapping[str, FeatureTemplate]
    parameters: Mapping[str, Scalar]
    space: Mapping[str, tuple[Scalar, ...]]
    constraints: tuple[str, ...]

    @property
    def description(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def resolve(self, given: Mapping[str, Scalar], where: str = "") -> dict[str, Scalar]:
        """Return all parameters: the defaults, replaced by those that were given.

        Raises
        ------
        UnknownNameError
            A parameter that the strategy does not have.
        ConfigurationError
            A value of another kind than the default: a number, a text, or true or false.
        """
        for name, value in given.items():
            if name not in self.parameters:
                raise UnknownNameError(f"parameter of {self.name}", name, self.parameters, where)
            kind = _kind(self.parameters[name])
            if kind not in ("", _kind(value)):
                raise ConfigurationError(
                    f"{where + ': ' if where else ''}the parameter {name!r} of {self.name} must be {kind}, "
                    f"as its default {self.parameters[name]!r} is, was {value!r}."
                )
        return {**self.parameters, **given}

    def needs(self, parameters: Mapping[str, Scalar]) -> dict[str, Feature]:
        """Return the features that it needs with these parameters, by argument name."""
        values = dict(parameters)
        return {argument: template.fill(values) for argument, template in self.features.items()}


STRATEGIES: Registry[Strategy] = Registry("strategy type")


def strategy(
    *,
    features: Mapping[str, FeatureTemplate] | None = None,
    parameters: Mapping[str, Scalar] | None = None,
    space: Mapping[str, tuple[Scalar, ...]] | None = None,
    constraints: tuple[str, ...] = (),
    name: str = "",
) -> Callable[[Callable[..., Float64]], Strategy]:
    """Make a strategy of a function and register it under its own name.

    Parameters
    ----------
    features
        Features by argument name, made with `feature`.
    parameters
        Defaults of the parameters; those of arguments with a default value need not be repeated.
    space
        Values that a grid search tries where the configuration names none.
    constraints
        Relations between parameters that a search must respect.
    name
        Type name in configurations; the function's own where it is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from admf.domain.features import feature
    >>> @strategy(features={"average": feature("sma", period="period")}, parameters={"period": 50})
    ... def above_average(close, average):
    ...     return np.where(close > average, 1.0, 0.0)
    >>> above_average.needs({"period": 20})["average"]
    Feature(name='sma', parameters=(('period', 20),))
    """

    def register(function: Callable[..., Float64]) -> Strategy:
        made = strategy_from(
            function,
            features=features or {},
            parameters=parameters or {},
            space=space or {},
            constraints=constraints,
            name=name,
        )
        STRATEGIES.register(made.name, made)
        return made

    return register


def strategy_from(
    function: Callable[..., Float64],
    *,
    features: Mapping[str, FeatureTemplate],
    parameters: Mapping[str, Scalar],
    space: Mapping[str, tuple[Scalar, ...]],
    constraints: tuple[str, ...] = (),
    name: str = "",
) -> Strategy:
    """Make a strategy of a function without registering it; arguments with a default are its parameters.

    Raises
    ------
    ConfigurationError
        An argument is neither a feature, nor a column of bars, nor a parameter with a default; or a feature
        names a parameter that the strategy does not have.
    """
    plain = getattr(function, "py_func", function)
    signature = inspect.signature(plain)
    defaults = {
        argument.name: argument.default
        for argument in signature.parameters.values()
        if argument.default is not inspect.Parameter.empty
    }
    known = {**defaults, **parameters}
    for argument in signature.parameters:
        if argument not in features and argument not in SERIES and argument not in known:
            raise ConfigurationError(
                f"strategy {plain.__name__!r}: the argument {argument!r} is neither a feature, nor a column "
                f"of bars ({', '.join(SERIES)}), nor a parameter; give it a default value to make it one."
            )
    for argument, template in features.items():
        for parameter, value in template.parameters:
            if isinstance(value, str) and value not in known:
                where = f"strategy {plain.__name__!r}, {parameter} of the feature {argument!r}"
                raise UnknownNameError("parameter", value, known, where)
    return Strategy(
        name or plain.__name__,
        function,
        tuple(signature.parameters),
        features,
        known,
        space,
        constraints,
    )


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number, such as 3, 0.001 or 1.0e-3"
        case str():
            return "a text"
    return ""


class Signals(NamedTuple):
    """What a strategy may return instead of target exposures: these, with prices for its orders.

    Each field has one value per bar; those of the bar at whose close the target changes hold for the orders
    that follow from the change. NaN, or no array at all, means no price. A limit buys at its price or below
    and sells at its price or above, a stop the other way round; with both, the order becomes a limit order
    once the stop is reached.
    ``stop_loss`` and ``take_profit`` end the position.
    """

    target: Float64
    limit: Float64 | None = None
    stop: Float64 | None = None
    stop_loss: Float64 | None = None
    take_profit: Float64 | None = None


PRICES = Signals._fields[1:]
"""The columns of order prices."""


def checked_signals(name: str, result: object, n_bars: int) -> tuple[Float64, Float64]:
    """Return what a strategy returned as float64, if it is one number for each bar.

    Returns
    -------
    targets
        Shape (n_bars,).
    prices
        In the columns of `PRICES`, shape (n_bars, 4), or (0, 4) where it states none.

    Raises
    ------
    StrategyError
        It is neither an array of numbers of shape (n_bars,), nor `Signals` of such arrays.
    """
    if not isinstance(result, Signals):
        return _checked_column(name, "target exposure", result, n_bars), np.empty((0, len(PRICES)))
    prices = np.full((n_bars, len(PRICES)), np.nan)
    for number, (field, column) in enumerate(zip(PRICES, result[1:], strict=True)):
        if column is not None:
            prices[:, number] = _checked_column(name, field, column, n_bars)
    return _checked_column(name, "target exposure", result.target, n_bars), prices


def _checked_column(name: str, field: str, values: object, n_bars: int) -> Float64:
    try:
        column = np.asarray(values, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise StrategyError(
            f"strategy {name!r} must return an array of numbers, one {field} for each bar; "
            f"it returned {type(values).__name__}."
        ) from error
    if column.shape != (n_bars,):
        raise StrategyError(
            f"strategy {name!r} must return one {field} for each of the {n_bars} bars; "
            f"it returned {type(values).__name__} of shape {column.shape}."
        )
    return column


@compiled
def _fade(value: Float64, low: float, high: float, middle: float) -> Float64:
    target = np.full(value.size, np.nan)
    held = 0.0
    for t in range(value.size):
        if np.isnan(value[t]):
            continue
        if value[t] < low:
            held = 1.0
        elif value[t] > high:
            held = -1.0
        elif (held > 0.0 and value[t] >= middle) or (held < 0.0 and value[t] <= middle):
            held = 0.0
        target[t] = held
    return target


@strategy(
    features={"fast": feature("sma", period="fast"), "slow": feature("sma", period="slow")},
    parameters={"fast": 10, "slow": 30},
    space={"fast": (5, 10, 20, 30, 50), "slow": (20, 50, 100, 150, 200)},
    constraints=("fast < slow",),
)
@compiled
def sma_crossover(fast: Float64, slow: Float64) -> Float64:
    """Long from the cross of the fast average above the slow one, short from the opposite cross."""
    target = np.empty(fast.size)
    first = min(next_above(fast, slow, 0), next_above(slow, fast, 0))
    begins_above = first < fast.size and fast[first] > slow[first]
    cross = next_above(slow, fast, first) if begins_above else next_above(fast, slow, first)
    for t in range(fast.size):
        target[t] = 1.0 if fast[t] > slow[t] else -1.0 if fast[t] < slow[t] else np.nan
    target[:cross] = np.nan
    return target


@strategy(
    features={"change": feature("rate_of_change", period="lookback")},
    parameters={"lookback": 20, "threshold": 0.02},
    space={"lookback": (10, 20, 60, 120), "threshold": (0.0, 0.02, 0.05)},
)
@compiled
def momentum(change: Float64, threshold: float) -> Float64:
    """Long while the change over the lookback exceeds the threshold, short below its negative, else flat."""
    target = np.full(change.size, np.nan)
    for t in range(change.size):
        if not np.isnan(change[t]):
            target[t] = int(change[t] > threshold) - int(change[t] < -threshold)
    return target


@strategy(
    features={"score": feature("zscore", period="lookback")},
    parameters={"lookback": 14, "threshold": 2.0},
    space={"lookback": (10, 14, 20, 50), "threshold": (1.0, 1.5, 2.0)},
)
@compiled
def mean_reversion(score: Float64, threshold: float) -> Float64:
    """Against a close that is `threshold` deviations from its mean, until the close is back at the mean."""
    return _fade(score, -threshold, threshold, 0.0)


@strategy(
    features={"index": feature("rsi", period="period")},
    parameters={"period": 14, "oversold": 30.0, "overbought": 70.0},
    space={"period": (7, 14, 21), "oversold": (20.0, 30.0), "overbought": (70.0, 80.0)},
    constraints=("oversold < overbought",),
)
@compiled
def rsi(index: Float64, oversold: float, overbought: float) -> Float64:
    """Long below `oversold`, short above `overbought`, until the index is back at the middle of the two."""
    return _fade(index, oversold, overbought, (oversold + overbought) / 2.0)


@strategy(
    features={
        "lower": feature("bollinger_lower", period="period", width="width"),
        "upper": feature("bollinger_upper", period="period", width="width"),
    },
    parameters={"period": 20, "width": 2.0},
    space={"period": (10, 20, 50), "width": (1.5, 2.0, 2.5)},
)
@compiled
def bollinger(close: Float64, lower: Float64, upper: Float64) -> Float64:
    """Long below the lower band, short above the upper one, until the close is back at the middle."""
    return _fade((close - lower) / (upper - lower), 0.0, 1.0, 0.5)


@strategy(
    features={
        "highest": feature("highest", period="lookback"),
        "lowest": feature("lowest", period="lookback"),
    },
    parameters={"lookback": 20},
    space={"lookback": (10, 20, 50, 100)},
)
@compiled
def breakout(close: Float64, highest: Float64, lowest: Float64) -> Float64:
    """Long from a close above the highest high of the bars before, short from one below their lowest low."""
    target = np.empty(close.size)
    for t in range(close.size):
        target[t] = 1.0 if close[t] > highest[t] else -1.0 if close[t] < lowest[t] else np.nan
    return target
