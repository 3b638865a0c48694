"""Rows of a phase's stream as compiled code reads them: on the timeline, container after container."""

from collections.abc import Sequence

import numpy as np

from ...domain.desk import Records
from ...domain.events import Int32, Int64, InterestCharged, OrdersFilled
from ...domain.panel import Panel


def records_of(
    panel: Panel,
    events: Sequence[OrdersFilled] | Sequence[InterestCharged],
    container: Int32,
    kind: np.dtype[np.void],
    columns: tuple[str, ...],
) -> tuple[Records, Int64]:
    """Put rows of some containers on the timeline, and tell the row after each container's last.

    Parameters
    ----------
    panel
        The bars that the rows refer to.
    events
        The rows, also of other containers.
    container
        The containers in ascending order.
    kind, columns
        The record, and which of its columns are taken over beside symbol and bar.
    """
    owner = np.concatenate([np.empty(0, np.int32), *(event.container for event in events)])
    chosen = np.flatnonzero(np.isin(owner, container))
    order = chosen[np.argsort(owner[chosen], kind="stable")]
    records = np.zeros(order.size, kind)
    if order.size:
        symbol = np.concatenate([event.symbol for event in events])[order]
        bar = np.concatenate([event.bar for event in events])[order]
        records["symbol"] = symbol
        records["bar"] = bar
        for number, places in enumerate(panel.at):
            own = symbol == number
            records["bar"][own] = places[bar[own]]
        for name in columns:
            records[name] = np.concatenate([getattr(event, name) for event in events])[order]
    return records, np.searchsorted(owner[order], container, side="right")
