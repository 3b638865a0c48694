"""Weights of strategies that differ from container to container, or with the regime of the market.

A weight changes nothing in what a strategy wishes, which is what signals record; it is applied to the wish on
its way into the target of the portfolio.
"""

from collections.abc import Mapping

import numpy as np

from .errors import ConfigurationError
from .events import Int8, Int32, Scalar
from .market import Market
from .targets import Changes, Line
from .topology import Containers, StrategySlot, Topology

WEIGHT = "weight."
"""Before the name of a strategy: the parameter of a container that is its weight; see `weight_names`."""


def weight_names(slot: str, regimes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parameters that hold a strategy's weight: in no known regime, and in each of `regimes`."""
    return (f"{WEIGHT}{slot}", *(f"{WEIGHT}{slot}.{regime}" for regime in regimes))


def own_weights(topology: Topology, slot: StrategySlot, row: Mapping[str, Scalar]) -> tuple[float, ...]:
    """Return a strategy's weights in a container with the parameters `row`.

    The first holds where the regime is not known, the others in each regime.
    """
    names = weight_names(slot.name, topology.regimes)
    stated = slot.weights or (slot.weight,) * len(topology.regimes)
    if names[0] in row:
        stated = (float(row[names[0]]),) * len(topology.regimes)
    values = (float(row.get(names[0], slot.weight)), *stated)
    return tuple(float(row.get(name, value)) for name, value in zip(names, values, strict=True))


def weighted_lines(
    lines: list[Line], topology: Topology, market: Market, containers: Containers
) -> list[Line]:
    """Apply weights that differ between containers or regimes to the targets of lines; see `weighted`."""
    if not any(slot.weights for slot in topology.slots) and not any(
        name.startswith(WEIGHT) for name in containers.parameters
    ):
        return lines
    found = []
    for line in lines:
        slot = topology.slots[line.slot]
        changes = weighted(topology, slot, market, containers, line.changes)
        part = 1.0 if slot.symbols else 1.0 / len(market.panel.bars)
        found.append(line._replace(weight=part, changes=changes))
    return found


def weighted(
    topology: Topology, slot: StrategySlot, market: Market, containers: Containers, changes: Changes
) -> Changes:
    """Multiply the targets of a strategy by its weight in each container, and at each bar's regime.

    Where the weight changes with the regime, so does the target, at the close of the bar that tells so.

    Raises
    ------
    ConfigurationError
        The strategy states order prices, which belong to the bars of its own changes.
    """
    labels = market.regimes if topology.regimes else None
    if changes.price.size and labels is not None:
        raise ConfigurationError(
            f"strategies: {slot.name} states order prices, so its weight can't switch with the regime; leave "
            "out its weights."
        )
    starts = np.concatenate((np.zeros(1, np.int64), changes.ends[:-1]))
    bars, targets, counts = [], [], []
    for row, (start, end) in enumerate(zip(starts.tolist(), changes.ends.tolist(), strict=True)):
        weights = np.array(own_weights(topology, slot, containers.row(row)))
        own = changes.bar[start:end]
        if labels is None:
            bar, target = own, changes.target[start:end] * weights[0]
        else:
            bar = _bars_of_change(own, labels, int(containers.stop_bar[row]))
            place = np.searchsorted(own, bar, side="right") - 1
            target = changes.target[start:end][place] * weights[labels[bar] + 1]
        if not changes.price.size:
            differs = np.diff(target, prepend=0.0) != 0.0
            bar, target = bar[differs], target[differs]
        bars.append(bar)
        targets.append(target)
        counts.append(bar.size)
    return Changes(np.cumsum(counts), np.concatenate(bars), np.concatenate(targets), changes.price)


def _bars_of_change(bar: Int32, labels: Int8, stop: int) -> Int32:
    """Return the bars at which a target or the regime changes, from the first target on."""
    if bar.size == 0:
        return bar
    first = int(bar[0])
    switches = first + 1 + np.flatnonzero(np.diff(labels[first:stop]))
    return np.union1d(bar, switches).astype(np.int32)
