"""What a phase simulates, as data: strategies with their features, sizing, execution, and the containers.

A container is a row of parameters and a window, so containers are isolated by construction; bars and features
are shared by all of them, read only.
"""

from collections.abc import Mapping
from enum import IntEnum

import msgspec
import numpy as np

from .events import Column, Int8, Int16, Int32, Int64, Scalar
from .execution import OF_EQUITY, Execution, Protection, RiskLimits, Sizer
from .features import Feature
from .metrics import Profile
from .strategies import Strategy

MAX_DRAWDOWN = "risk.limits.max_drawdown"
"""Qualified name of the drawdown that halts trading."""


class LogLevel(IntEnum):
    """How much a phase records; trials with their metrics always are."""

    METRICS = 0
    FILLS = 1
    FULL = 2


class StrategySlot(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's place in a portfolio.

    ``parameters`` are complete; ``weight`` multiplies its signals in the portfolio's target; ``lowest`` and
    ``highest`` bound its target exposure (long only: 0 and 1). ``symbols`` are the numbers of the symbols
    that it trades, each with its weight; without any, it trades all of them with an equal part of its weight.
    ``weights``, where there are any, are its weights in each of the topology's regimes; ``weight`` then holds
    where the regime is not known.
    """

    name: str
    strategy: Strategy
    parameters: Mapping[str, Scalar]
    weight: float = 1.0
    weights: tuple[float, ...] = ()
    lowest: float = -1.0
    highest: float = 1.0
    symbols: tuple[int, ...] = ()


class Containers(msgspec.Struct, frozen=True, kw_only=True):
    """Containers in columns: one row each, with consecutive ids from ``first_id``.

    ``parameters`` holds the values that differ from the topology's own, by qualified name such as
    ``cross.fast``; the other columns are those of `TrialsCompleted`. With ``legs``, containers trade some
    windows one after the other, and these parameters are those of the last one.
    """

    first_id: int
    fold: Int16
    segment: Int8
    first_bar: Int32
    stop_bar: Int32
    parameters: Mapping[str, Column]
    legs: "Legs | None" = None

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
            legs=self.legs.of(start, stop) if self.legs is not None else None,
        )

    def row(self, index: int) -> dict[str, Scalar]:
        """Return the parameters of one container."""
        return {name: column[index].item() for name, column in self.parameters.items()}


class Legs(Containers, frozen=True, kw_only=True):
    """The windows of containers, one row each, in the order of their ``owner`` and of time.

    ``owner`` is the row of a container. Its legs don't overlap; where two of them touch, its positions are
    carried on, and where they don't, it is flat in between. Each leg has its own parameters.
    """

    owner: Int32

    @property
    def starts(self) -> Int64:
        """The row of each container's first leg, shape (n_containers,)."""
        return np.flatnonzero(np.diff(self.owner, prepend=-1))

    def of(self, start: int, stop: int) -> "Legs":
        """Return the legs of the containers at rows ``start`` to ``stop`` (excluded)."""
        rows = (self.owner >= start) & (self.owner < stop)
        return Legs(
            first_id=self.first_id,
            fold=self.fold[rows],
            segment=self.segment[rows],
            first_bar=self.first_bar[rows],
            stop_bar=self.stop_bar[rows],
            parameters={name: column[rows] for name, column in self.parameters.items()},
            owner=self.owner[rows] - np.int32(start),
        )


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """What a phase simulates, apart from the bars and the containers.

    ``regimes`` names the regimes that bars are classified by, in the order of their numbers.
    """

    slots: tuple[StrategySlot, ...]
    sizer: Sizer
    execution: Execution
    capital: float
    profile: Profile
    bars_per_year: float
    log: LogLevel = LogLevel.FULL
    protection: Protection = Protection()
    limits: RiskLimits = RiskLimits()
    regimes: tuple[str, ...] = ()

    @property
    def risk_parameters(self) -> dict[str, Scalar]:
        """What a search may vary of sizing and risk, by qualified name, as configured.

        The size comes first, then the exits, the drawdown that halts trading, all in percent, and the sizing
        rule, where that is one of several with the same unit.
        """
        sizer = self.sizer
        found: dict[str, Scalar] = {
            sizer.parameter: sizer.value,
            **self.protection.parameters,
            MAX_DRAWDOWN: 100.0 * self.limits.max_drawdown,
        }
        return found | ({f"{sizer.name}.type": sizer.rule.name.lower()} if sizer.rule in OF_EQUITY else {})

    def resolve(self, slot: StrategySlot, row: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return a strategy's parameters in a container with the parameters ``row``."""
        prefix = slot.name + "."
        own = {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
        return {**slot.parameters, **own}


def distinct_features(
    topology: Topology, slot: StrategySlot, containers: Containers
) -> dict[str, tuple[list[Feature], Int64]]:
    """Infer the features that a strategy needs in these containers.

    Returns
    -------
    dict[str, tuple[list[Feature], Int64]]
        By argument: the distinct features, and which of them each container uses, shape (n_containers,).
    """
    found = {}
    for argument, template in slot.strategy.features.items():
        names = sorted(
            {f"{slot.name}.{value}" for _, value in template.parameters} & containers.parameters.keys()
        )
        rows, which = _distinct_rows([containers.parameters[name] for name in names], len(containers))
        features = [
            template.fill(
                topology.resolve(slot, {name: containers.parameters[name][row].item() for name in names})
            )
            for row in rows
        ]
        found[argument] = features, which
    return found


def _distinct_rows(columns: list[Column], count: int) -> tuple[Int64, Int64]:
    """Find a row of each combination of values, and which combination each of the ``count`` rows has."""
    which = np.zeros(count, np.int64)
    for column in columns:
        values, places = np.unique(column, return_inverse=True)
        which = which * values.size + places
    _, rows, which = np.unique(which, return_index=True, return_inverse=True)
    return rows, which


def needed_features(topology: Topology, containers: Containers) -> tuple[Feature, ...]:
    """Infer the distinct features that these containers need, in a fixed order."""
    rows = containers if containers.legs is None else containers.legs
    found = {
        feature
        for slot in topology.slots
        for features, _ in distinct_features(topology, slot, rows).values()
        for feature in features
    }
    return tuple(sorted(found, key=lambda spec: (spec.name, str(spec.parameters), spec.timeframe)))
