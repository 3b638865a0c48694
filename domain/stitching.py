"""One account over several windows: the targets of its legs joined, and their sizes and exits in turn.

Each leg's targets are those of a container that trades its window alone; see `admf.domain.targets`.
"""

import numpy as np

from .compiled import compiled
from .desk import WISH, Records
from .events import Bool, Float64, Int32, Int64
from .panel import Panel
from .targets import Changes
from .topology import Legs

TURN = -1
"""The symbol of a wish that states sizes and exits instead of a target."""
SETTINGS = ("target", "stop_loss", "take_profit", "limit", "stop", "volatility")
"""Where such a wish has size, stop loss, take profit, trailing stop, largest drawdown and sizing rule."""


def joined_changes(changes: Changes, legs: Legs, panel: Panel, symbol: int) -> Changes:
    """Join the changes of a target in each leg into its changes in each container.

    Where a leg begins, the target becomes that of its parameters, if it differs. Before a gap it becomes flat
    at the close of the leg's last bar but one, so that a position ends at prices inside of the leg.
    """
    first = np.searchsorted(panel.at[symbol], legs.first_bar)
    stop = panel.own[symbol][legs.stop_bar - 1] + 1
    gap = np.zeros(len(legs), np.bool_)
    gap[:-1] = (legs.owner[1:] == legs.owner[:-1]) & (legs.first_bar[1:] > legs.stop_bar[:-1])
    room = changes.bar.size + 2 * len(legs)
    ends, bar = np.zeros(legs.starts.size, np.int64), np.empty(room, np.int32)
    target, row = np.empty(room), np.empty(room, np.int64)
    windows = first.astype(np.int64), stop.astype(np.int64), gap
    total = _join(changes.ends, changes.bar, changes.target, windows, legs.starts, ends, bar, target, row)
    row = row[:total]
    price = changes.price
    if price.size:
        price = np.where((row < 0)[:, np.newaxis], np.nan, price[row])
    return Changes(ends, bar[:total], target[:total], price)


@compiled
def _join(
    leg_changes: Int64,
    bar: Int32,
    target: Float64,
    windows: tuple[Int64, Int64, Bool],
    starts: Int64,
    ends: Int64,
    out_bar: Int32,
    out_target: Float64,
    out_row: Int64,
) -> int:
    """Write the joined changes and the row that each follows from, -1 for none; return their number."""
    first, stop, gap = windows
    rows = 0
    for c in range(starts.size):
        held = 0.0
        for leg in range(starts[c], starts[c + 1] if c + 1 < starts.size else first.size):
            if first[leg] >= stop[leg]:
                continue
            start = leg_changes[leg - 1] if leg > 0 else 0
            if held != 0.0 and (start == leg_changes[leg] or bar[start] != first[leg]):
                out_bar[rows], out_target[rows], out_row[rows] = first[leg], 0.0, -1
                held = 0.0
                rows += 1
            last = stop[leg] - 2 if gap[leg] else stop[leg]
            for i in range(start, leg_changes[leg]):
                if target[i] != held and bar[i] < last:
                    out_bar[rows], out_target[rows], out_row[rows] = bar[i], target[i], i
                    held = target[i]
                    rows += 1
            if gap[leg] and held != 0.0:
                out_bar[rows], out_target[rows], out_row[rows] = max(last, first[leg]), 0.0, -1
                held = 0.0
                rows += 1
        ends[c] = rows
    return rows


def first_settings(settings: Float64, legs: Legs) -> Float64:
    """Return the settings of each container's first leg, and whether any of its legs has exits, and a limit.

    ``settings`` has a row per leg: what `SETTINGS` names, and whether it has exits, and a largest drawdown.
    """
    found = settings[legs.starts]
    found[:, len(SETTINGS) :] = np.maximum.reduceat(settings[:, len(SETTINGS) :], legs.starts)
    return found


def with_turns(wishes: Records, ends: Int64, settings: Float64, legs: Legs) -> tuple[Records, Int64]:
    """Put in wishes that state the sizes and exits of a leg where they differ from those of the leg before.

    They come last at its first bar: what was ordered at that bar's close has its size already.

    Parameters
    ----------
    wishes, ends
        Of all containers, and the row after each one's last.
    settings
        Per leg, as for `first_settings`.
    legs
        The legs.
    """
    follows = np.append(False, legs.owner[1:] == legs.owner[:-1])
    differs = np.append(False, (settings[1:] != settings[:-1]).any(axis=1))
    chosen = np.flatnonzero(follows & differs)
    turns = np.zeros(chosen.size, WISH)
    turns["bar"], turns["symbol"] = legs.first_bar[chosen], TURN
    for column, name in enumerate(SETTINGS):
        turns[name] = settings[chosen, column]
    owner = np.repeat(np.arange(ends.size), np.diff(ends, prepend=0))
    everything = np.concatenate([wishes, turns])
    owners = np.concatenate([owner, legs.owner[chosen]])
    order = np.lexsort((everything["symbol"] == TURN, everything["bar"], owners))
    return everything[order], np.cumsum(np.bincount(owners, minlength=ends.size))
