"""Measuring containers anew, from the fills and bars in the log.

What depends on when the features of a container were first defined is left out: the log tells nothing about
features. That concerns two metrics of the profile ``backtesting_py``, and none of the others.
"""

from collections.abc import Sequence

import numpy as np

from ...domain.bars import parse_timeframe
from ...domain.desk import CHARGE, FILL
from ...domain.events import (
    Bool,
    Float64,
    Int64,
    InterestCharged,
    OrdersFilled,
    PhaseStarted,
    TrialsCompleted,
)
from ...domain.market import Market
from ...domain.measurement import Measures, Spans, measure_containers
from ...domain.metrics import METRICS, Profile, metric_profile
from ...domain.panel import Panel
from ..configuration.sections import PhaseSection
from ..streams.records import records_of
from .shard_audit import Batch, Fault

OF_WARM_UP = {
    **dict.fromkeys(Profile, frozenset[str]()),
    Profile.BACKTESTING_PY: frozenset({"buy_and_hold_return", "alpha"}),
}
"""The metrics of each profile that depend on features."""


class Gauge:
    """Measures the containers of a phase.

    Parameters
    ----------
    started, section
        How the phase began, and its configuration.
    panel
        The bars that it read.
    """

    def __init__(self, started: PhaseStarted, section: PhaseSection, panel: Panel) -> None:
        self._profile = metric_profile(section.metrics.profile)
        timeframe = parse_timeframe(panel.bars[0].timeframe)
        self._per_year = section.metrics.bars_per_year or timeframe.bars_per_year
        self._capital = started.capital
        self._panel = panel
        self._prices = Market(panel, ()).prices
        self.names = tuple(name for name in METRICS if name not in OF_WARM_UP[self._profile])
        """The metrics that are compared."""

    def fault(
        self,
        batch: Batch,
        trials: TrialsCompleted,
        fills: Sequence[OrdersFilled],
        charges: Sequence[InterestCharged],
        sound: Bool,
    ) -> Fault:
        """Compare the recorded metrics of the `sound` trials with those that follow from their fills."""
        rows = np.flatnonzero(sound)
        names = [name for name in self.names if name in trials.metrics]
        recorded = np.stack([trials.metrics[name] for name in names], axis=1)
        measured = recorded.copy()
        measured[rows] = self._measured(trials, fills, charges, rows)[
            :, [METRICS.index(name) for name in names]
        ]
        differs = _bits(recorded) != _bits(measured)

        def describe(row: int) -> str:
            columns = np.flatnonzero(differs[row])
            name, is_, follows = names[columns[0]], recorded[row, columns[0]], measured[row, columns[0]]
            return (
                f"{name} of container {trials.container[row]} must be {follows.item()!r}, as follows from "
                f"its fills, is {is_.item()!r}; metrics that differ: {columns.size}."
            )

        return Fault(batch, differs.any(axis=1), "metrics", describe)

    def _measured(
        self,
        trials: TrialsCompleted,
        fills: Sequence[OrdersFilled],
        charges: Sequence[InterestCharged],
        rows: Int64,
    ) -> Float64:
        container = trials.container[rows]
        filled, fill_ends = records_of(self._panel, fills, container, FILL, ("quantity", "price", "fee"))
        charged, charge_ends = records_of(self._panel, charges, container, CHARGE, ("amount",))
        return measure_containers(
            self._prices,
            Spans(
                trials.first_bar[rows].astype(np.int64),
                trials.stop_bar[rows].astype(np.int64),
                np.zeros(rows.size, np.int64),
            ),
            (fill_ends, charge_ends),
            filled,
            charged,
            Measures(int(self._profile), self._per_year, self._capital),
        )


def _bits(values: Float64) -> Int64:
    """Numbers as their bits, so that nothing but equal bits is equal; all NaN are one."""
    bits: Int64 = np.where(np.isnan(values), np.nan, values).view(np.int64)
    return bits
