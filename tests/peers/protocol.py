"""What tests ask an installed peer, and what it answers: an object of JSON on a line, each way.

It is shared by scripts of another environment, so it needs nothing but the standard library.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import TypedDict


class Question(TypedDict):
    """Trade bars by target exposures that are decided at their closes.

    ``target`` has the sign of the position, and its part of the full size, of each bar; ``partly`` says that
    it may be other than -1, 0 and 1. ``sizing`` is ``percentage`` (of equity, as a fraction), ``units`` or
    ``value`` (in currency). ``granularity`` is the
    smallest quantity, or zero. Costs are fractions, but for ``per_unit`` and ``fixed``. ``fill`` and ``end``
    are named as in the configuration of workflows.
    """

    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    target: list[float]
    partly: bool
    capital: float
    sizing: str
    size: float
    granularity: float
    commission: float
    per_unit: float
    fixed: float
    slippage: float
    stop_loss: float
    take_profit: float
    trailing_stop: float
    fill: str
    end: str
    engine: str


Trade = tuple[int, int, float, float, float, float]
"""Entry bar, exit bar (-1 while it is open), signed quantity, entry price, exit price, profit."""

MARKED = 0.0
"""The exit price of an open trade, whose profit is marked at the last close."""


class Answer(TypedDict):
    """Trades from flat to flat in the order of their entries, and equity at the last close."""

    trades: list[Trade]
    equity: float


def decisions(question: Question) -> list[tuple[int, float, float]]:
    """Return the bars at whose closes the target changes, with the target before and after."""
    target = question["target"]
    steps = zip([0.0, *target[:-1]], target, strict=True)
    return [(bar, before, after) for bar, (before, after) in enumerate(steps) if before != after]


def serve(answer: Callable[[Question], Answer]) -> None:
    """Answer questions until there are no more."""
    # What a library prints must not get in between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
