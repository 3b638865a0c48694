"""The points that a sampler can choose from: one axis for each parameter of a search space.

A place on an axis is the index of one of its values, or a number on a continuous axis; a point has one place
on each axis. Samplers deal in points alone, so none of them can suggest a value that the space does not have.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import exp, log

import msgspec
import numpy as np

from .errors import ConfigurationError, UnknownNameError
from .events import Column, Scalar

Place = int | float
Point = tuple[Place, ...]


class Range(msgspec.Struct, frozen=True):
    """The numbers from ``low`` to ``high``, both included.

    Whole numbers where ``low``, ``high`` and ``step`` are whole, in steps of 1 unless it is given. Others are
    continuous without a step. ``log`` spreads them evenly on a logarithmic scale, which can have no step.
    """

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are whole."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 1))

    def values(self, name: str) -> list[Scalar]:
        """Return its numbers in order.

        Raises
        ------
        ConfigurationError
            It is continuous; ``name`` is the parameter.
        """
        if self.is_whole:
            return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        if self.step is None:
            raise ConfigurationError(
                f"search space: {name} is continuous, and a grid tries every value; give it a step, list "
                "its values, or choose another algorithm."
            )
        # As many steps as fit, and one more where only rounding keeps it out: 0.1 to 0.3 by 0.1.
        count = int((self.high - self.low) / self.step + 1e-9)
        return [float(self.low + number * self.step) for number in range(count + 1)]


Space = Mapping[str, Sequence[Scalar] | Range]


class Axis(msgspec.Struct, frozen=True):
    """One parameter of a search space.

    Attributes
    ----------
    name
        The parameter.
    values
        Its values in ascending order, or as they were listed if they are texts; None if it is continuous.
    low, high
        Bounds of a continuous axis, or of the indices of the values.
    log
        Whether it is spread evenly on a logarithmic scale.
    """

    name: str
    values: Column | None
    low: float
    high: float
    log: bool = False

    @property
    def is_ordered(self) -> bool:
        """Whether a greater place is a greater value."""
        return self.values is None or self.values.dtype.kind != "U"

    @property
    def first(self) -> int:
        """The first whole number of a logarithmic axis of whole numbers."""
        return 0 if self.values is None else int(self.values[0])

    def place(self, share: float) -> Place:
        """Return the place at a share of the axis, from 0 to 1, the nearest one where it has values."""
        share = min(max(share, 0.0), 1.0)
        if not self.log:
            at = self.low + share * (self.high - self.low)
            return at if self.values is None else round(at)
        low, high = (self.low, self.high) if self.values is None else (self.values[0], self.values[-1])
        at = exp(log(low) + share * (log(high) - log(low)))
        return min(max(at, self.low), self.high) if self.values is None else round(at) - self.first

    def nearest(self, value: Scalar) -> Place:
        """Return the place of the value that is nearest to one; of texts it must be the same.

        Raises
        ------
        UnknownNameError
            The axis has no such text.
        ConfigurationError
            It has numbers, and the value is a text.
        """
        if not self.is_ordered and self.values is not None:
            known = self.values.tolist()
            if value not in known:
                raise UnknownNameError("value", str(value), known, f"search space: {self.name}")
            return int(known.index(value))
        if isinstance(value, str):
            raise ConfigurationError(f"search space: {self.name} has numbers, and {value!r} is none.")
        if self.values is None:
            return min(max(float(value), self.low), self.high)
        return int(np.argmin(np.abs(self.values.astype(np.float64) - float(value))))

    def drawn(self, share: float) -> Place:
        """Return a place from a share that was drawn evenly from [0, 1): every value is equally likely."""
        if self.values is None or self.log:
            return self.place(share)
        return min(int(share * self.values.size), self.values.size - 1)

    def share(self, place: Place) -> float:
        """Return the share of the axis at a place: the inverse of `place`."""
        low, high, at = self.low, self.high, float(place)
        if self.log and self.values is not None:
            low, high, at = float(self.values[0]), float(self.values[-1]), at + self.first
        if high <= low:
            return 0.0
        if self.log:
            return (log(at) - log(low)) / (log(high) - log(low))
        return (at - low) / (high - low)


def axes_of(space: Space) -> tuple[Axis, ...]:
    """Return the axes of a space, ordered by name.

    Raises
    ------
    ConfigurationError
        A parameter has no values, or values of kinds that can't be compared.
    """
    return tuple(_axis(name, space[name]) for name in sorted(space))


def _axis(name: str, values: Sequence[Scalar] | Range) -> Axis:
    if isinstance(values, Range):
        if not values.is_whole and values.step is None:
            return Axis(name, None, float(values.low), float(values.high), values.log)
        column = column_of(name, values.values(name))
        return Axis(name, column, 0.0, float(column.size - 1), values.log)
    column = column_of(name, values)
    if column.dtype.kind != "U":
        column = column_of(name, sorted(set(column.tolist())))
    return Axis(name, column, 0.0, float(column.size - 1))


def column_of(name: str, values: Sequence[Scalar]) -> Column:
    """Return values of one parameter as a column, shape (n_values,); whole only if all of them are.

    Raises
    ------
    ConfigurationError
        There are none, or values of kinds that can't be compared.
    """
    if len(values) == 0:
        raise ConfigurationError(f"search space: {name} has no values; list at least one.")
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) > 1:
        raise ConfigurationError(
            f"search space: the values of {name} must be of one kind, were {list(values)}."
        )
    kind = kinds.pop()
    if kind is str:
        return np.array(values, np.str_)
    return np.array(values, {bool: np.bool_, int: np.int64, float: np.float64}[kind])


def columns_of(axes: Sequence[Axis], points: Sequence[Point]) -> dict[str, Column]:
    """Return the values at points, in one column of shape (n_points,) for each axis."""
    columns: dict[str, Column] = {}
    for number, axis in enumerate(axes):
        places = [point[number] for point in points]
        if axis.values is None:
            columns[axis.name] = np.array(places, np.float64)
        else:
            columns[axis.name] = axis.values[np.array(places, np.int64)]
    return columns


def size_of(axes: Sequence[Axis]) -> float:
    """Return the number of points: infinite if an axis is continuous."""
    return float(np.prod([np.inf if axis.values is None else axis.values.size for axis in axes]))


def derived_seed(seed: int, *names: str) -> int:
    """Return a seed of 32 bits for one of many uses of a seed, which ``names`` tell apart.

    Examples
    --------
    >>> derived_seed(7, "training")
    2388643922
    """
    text = "/".join([str(seed), *names])
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "little")
