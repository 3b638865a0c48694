"""What a phase simulates, as data: strategies with their features, sizing, execution, and the containers.

A container is a row of parameters and a window, so containers are isolated by construction; bars and features
are shared by all of them, read only.
"""

from collections.abc import Mapping
from enum import IntEnum

import msgspec

from .bars import Bars
from .events import Column, Float64, Int8, Int16, Int32, Scalar
from .execution import Execution, Sizer
from .features import Feature
from .metrics import Profile
from .strategies import Strategy


class LogLevel(IntEnum):
    """How much a phase records; trials with their metrics always are."""

    METRICS = 0
    FILLS = 1
    FULL = 2


class StrategySlot(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's place in a portfolio.

    ``parameters`` are complete; ``weight`` multiplies its signals in the portfolio's target; ``lowest`` and
    ``highest`` bound its target exposure (long only: 0 and 1).
    """

    name: str
    strategy: Strategy
    parameters: Mapping[str, Scalar]
    weight: float = 1.0
    lowest: float = -1.0
    highest: float = 1.0


class Containers(msgspec.Struct, frozen=True, kw_only=True):
    """Containers in columns: one row each, with consecutive ids from ``first_id``.

    ``parameters`` holds the values that differ from the topology's own, by qualified name such as
    ``cross.fast``; the other columns are those of `TrialsCompleted`.
    """

    first_id: int
    fold: Int16
    segment: Int8
    first_bar: Int32
    stop_bar: Int32
    parameters: Mapping[str, Column]

    def __len__(self) -> int:
        return self.fold.size

    def part(self, start: int, stop: int) -> "Containers":
        """Return the containers at rows ``start`` to ``stop`` (excluded)."""
        rows = slice(start, stop)
        return Containers(
            first_id=self.first_id + start,
            fold=self.fold[rows],
            segment=self.segment[rows],
            first_bar=self.first_bar[rows],
            stop_bar=self.stop_bar[rows],
            parameters={name: column[rows] for name, column in self.parameters.items()},
        )

    def row(self, index: int) -> dict[str, Scalar]:
        """Return the parameters of one container."""
        return {name: column[index].item() for name, column in self.parameters.items()}


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """What a phase simulates, apart from the bars and the containers."""

    slots: tuple[StrategySlot, ...]
    sizer: Sizer
    execution: Execution
    capital: float
    profile: Profile
    bars_per_year: float
    log: LogLevel = LogLevel.FULL

    def resolve(self, slot: StrategySlot, row: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return a strategy's parameters in a container with the parameters ``row``."""
        prefix = slot.name + "."
        own = {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
        return {**slot.parameters, **own}


def needed_features(topology: Topology, containers: Containers) -> tuple[Feature, ...]:
    """Infer the distinct features that these containers need, in a fixed order."""
    found: set[Feature] = set()
    for slot in topology.slots:
        names = [name for name in containers.parameters if name.startswith(slot.name + ".")]
        columns = [containers.parameters[name].tolist() for name in names]
        rows = set(zip(*columns, strict=True)) if columns else {()}
        for values in rows:
            found.update(
                slot.strategy.needs(topology.resolve(slot, dict(zip(names, values, strict=True)))).values()
            )
    return tuple(sorted(found, key=lambda spec: (spec.name, str(spec.parameters))))


class Market:
    """Bars with the features computed over them: shared by all containers, read only.

    Parameters
    ----------
    bars
        The bars.
    features
        Distinct features.
    table
        Their values, one row each, shape (n_features, n_bars).
    """

    def __init__(self, bars: Bars, features: tuple[Feature, ...], table: Float64) -> None:
        self.bars = bars
        self.features = features
        self.table = table
        self._rows = dict(zip(features, table, strict=True))

    def feature(self, spec: Feature) -> Float64:
        """Return a feature's values, shape (n_bars,)."""
        values: Float64 = self._rows[spec]
        return values
