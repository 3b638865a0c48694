"""Whether two engines did the same. Only then is it fair to compare how long they took."""

from pathlib import Path

import numpy as np

from .peers.protocol import Outcome

PRICE = 1e-12
"""Prices of fills may differ by this part: they are the same numbers, read from the same file."""


def read_outcome(path: Path) -> Outcome:
    """Read what a measured process kept."""
    with np.load(path) as columns:
        return Outcome(**{name: columns[name] for name in Outcome._fields})


def difference(ours: Outcome, theirs: Outcome, money: float = 1e-6, fee_rounding: float = 0.0) -> str:
    """Return in words where two outcomes differ first, or an empty text where they agree.

    Parameters
    ----------
    ours, theirs
        The outcomes. Of an engine that does not say which fills it made only trades and equity are compared.
    money
        How far final equities may lie apart.
    fee_rounding
        What an engine that rounds each fee to its currency's decimals may be off with each fill, on top.
    """
    if ours.equity.shape != theirs.equity.shape:
        return f"{ours.equity.size} combinations here, {theirs.equity.size} there"
    wrong = ours.closed != theirs.closed
    if wrong.any():
        row = int(np.argmax(wrong))
        return (
            f"combination {row} closed {ours.closed[row]} trades here, {theirs.closed[row]} there "
            f"({wrong.sum()} combinations differ)"
        )
    found = _different_fill(ours, theirs) if theirs.bar.size else ""
    if found:
        return found
    fills = np.bincount(ours.combination, minlength=ours.equity.size)
    # A value that is not a number is not within any distance.
    wrong = ~(np.abs(ours.equity - theirs.equity) <= money + fee_rounding * fills)
    if wrong.any():
        row = int(np.argmax(wrong))
        return (
            f"combination {row} ended with {ours.equity[row]!r} here, {theirs.equity[row]!r} there "
            f"({wrong.sum()} combinations differ)"
        )
    return ""


def _different_fill(ours: Outcome, theirs: Outcome) -> str:
    if ours.bar.size != theirs.bar.size:
        return f"{ours.bar.size} fills here, {theirs.bar.size} there"
    wrong = (
        (ours.combination != theirs.combination)
        | (ours.bar != theirs.bar)
        | (ours.quantity != theirs.quantity)
        | ~(np.abs(ours.price - theirs.price) <= PRICE * ours.price)
    )
    if not wrong.any():
        return ""
    row = int(np.argmax(wrong))
    here, there = (
        f"{fills.quantity[row]:+g} at {float(fills.price[row])!r} on bar {fills.bar[row]} of combination "
        f"{fills.combination[row]}"
        for fills in (ours, theirs)
    )
    return f"fill {row} is {here} here, {there} there ({wrong.sum()} fills differ)"
