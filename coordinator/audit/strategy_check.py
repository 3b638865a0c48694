"""Looking for what makes a backtest worthless: look-ahead, chance, hidden state, and the like."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from ...domain.bars import Bars, iso_time
from ...domain.errors import DataError, StrategyError
from ...domain.events import Float64, Scalar
from ...domain.expressions import satisfied
from ...domain.perturbation import PERTURBATIONS, without_first
from ...domain.search import grid
from ...domain.strategies import Strategy
from ..simulation.components import find_strategy, strategy_types
from ..simulation.strategy_run import Point, inputs_of, targets_elsewhere, targets_of

FEWEST_BARS = 100
"""Fewer bars than these show nothing."""
CUTS = 12
"""From how many bars on, spread over all, and from how many changes of the target on, bars are perturbed."""
HASH_SEEDS = (1, 2)
"""Seeds of Python's hashes, one for each other process."""
LEFT_OUT = (20, 10, 6, 4, 3)
"""Of these parts of the bars, the first one is left out in turn."""
TOLERANCE = 1e-9
"""Targets that are nearer than this agree where other bars came before: their sums round differently."""
END = 0.9
"""Targets that differ beyond this share of the bars are taken never to agree."""
DECAY = 1e-3
"""Differences that shrink to this share of the largest one are what is left of recursive averages."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong with a strategy.

    Attributes
    ----------
    kind
        ``look-ahead``, ``history``, ``nondeterminism``, ``mutation``, ``no opinion``, ``out of range`` or
        ``error``.
    message
        What was found, with bars and dates.
    bar, time
        Index and date of the first bar at which it shows; None and "" where it is of no bar.
    cause, cause_time
        The later bar that a look-ahead depends on.
    """

    kind: str
    message: str
    bar: int | None = None
    time: str = ""
    cause: int | None = None
    cause_time: str = ""


class PointCheck(msgspec.Struct, frozen=True):
    """What was found with one choice of parameters.

    Attributes
    ----------
    parameters
        All of them.
    findings
        What is wrong; empty for a clean strategy.
    settles_after
        After how many bars its targets no longer depend on which bars came before, the most that was seen;
        None where they never agree, or where that was not looked at since the point failed otherwise.
    decays
        Whether differences remain that shrink, as those of recursive averages do; they are no finding.
    """

    parameters: dict[str, Scalar]
    findings: tuple[Finding, ...]
    settles_after: int | None = None
    decays: bool = False


class StrategyCheck(msgspec.Struct, frozen=True):
    """What was found in a strategy, point by point of its space; the first one is that of its defaults."""

    strategy: str
    points: tuple[PointCheck, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not any(point.findings for point in self.points)


def check_strategies(
    source: str, bars: Bars, folders: Sequence[Path] = (), n_points: int = 5
) -> tuple[StrategyCheck, ...]:
    """Check strategies over bars.

    Parameters
    ----------
    source
        A file, ``file.py:function``, or a registered type.
    bars
        At least `FEWEST_BARS`; each strategy runs over them a few hundred times.
    folders
        Where the file is looked for, before the current folder.
    n_points
        How many choices of parameters are tried, at most: the defaults, and others spread over the space.

    Raises
    ------
    ConfigurationError
        There is no such strategy.
    DataError
        There are too few bars.
    StrategyError
        The file raised when it was read.
    """
    if len(bars) < FEWEST_BARS:
        raise DataError(
            f"{bars.symbol}: a check needs at least {FEWEST_BARS} bars, found {len(bars)}. Use more data."
        )
    kinds = strategy_types(source, folders) if source.endswith(".py") else (source,)
    probes = {
        kind: [_Probe(kind, find_strategy(kind, folders), parameters, bars) for parameters in points]
        for kind in kinds
        for points in [spread_points(find_strategy(kind, folders), n_points)]
    }
    for probe in (probe for group in probes.values() for probe in group):
        probe.check_here()
    _check_elsewhere(
        [probe for group in probes.values() for probe in group if probe.comparable], folders, bars
    )
    return tuple(
        StrategyCheck(kind, tuple(probe.result() for probe in group)) for kind, group in probes.items()
    )


def spread_points(strategy: Strategy, count: int) -> list[dict[str, Scalar]]:
    """Return the defaults of a strategy, and up to `count` - 1 other points spread over its space."""
    columns = grid(strategy.space)
    size = len(next(iter(columns.values()))) if columns else 0
    allowed = np.ones(size, np.bool_)
    for constraint in strategy.constraints:
        allowed &= satisfied(constraint, {**strategy.parameters, **columns})
    rows = np.flatnonzero(allowed)
    chosen = (
        rows[np.linspace(0, rows.size - 1, min(rows.size, count)).astype(np.int64)] if rows.size else rows
    )
    points = [dict(strategy.parameters)]
    for row in chosen.tolist():
        point = {**strategy.parameters, **{name: column[row].item() for name, column in columns.items()}}
        if point not in points:
            points.append(point)
    return points[:count]


class _Probe:
    """A strategy with one choice of parameters, and what was found about it."""

    def __init__(self, kind: str, strategy: Strategy, parameters: dict[str, Scalar], bars: Bars) -> None:
        self.point = Point(kind, parameters)
        self.targets = np.empty(0)
        self.comparable = False
        self._strategy = strategy
        self._bars = bars
        self._findings: list[Finding] = []
        self._settles_after: int | None = None
        self._decays = False

    def result(self) -> PointCheck:
        """Return what was found."""
        parameters = dict(self.point.parameters)
        return PointCheck(parameters, tuple(self._findings), self._settles_after, self._decays)

    def check_here(self) -> None:
        """Look for everything that shows in one process."""
        targets = self._first_run()
        if targets is None:
            return
        self.targets = targets
        if not self._check_values() or self.compare(self._run(self._bars), "when it runs again"):
            return
        try:
            if not self._check_look_ahead():
                self._check_history()
        except StrategyError as error:
            self.found("error", f"over other bars it fails: {error}")
        self.comparable = not self._findings

    def found(self, kind: str, message: str, bar: int | None = None, cause: int | None = None) -> None:
        """Note a finding."""
        self._findings.append(
            Finding(
                kind=kind,
                message=message,
                bar=bar,
                time="" if bar is None else self._time(bar),
                cause=cause,
                cause_time="" if cause is None else self._time(cause),
            )
        )

    def compare(self, targets: Float64, when: str) -> bool:
        """Note where targets differ from the first ones though nothing else does; say whether they do."""
        bar = _first_difference(self.targets, targets)
        if bar is not None:
            values = f"{self.targets[bar]:g} and {targets[bar]:g}"
            self.found("nondeterminism", f"at {self._at(bar)} its target differs {when}: {values}.", bar)
        return bar is not None

    def _run(self, bars: Bars) -> Float64:
        return targets_of(self._strategy, self.point, inputs_of(self._strategy, self.point, bars))

    def _first_run(self) -> Float64 | None:
        """Run over arrays that can't be written; where that fails, over copies, to see whether it writes."""
        try:
            return self._run(self._bars)
        except StrategyError as refused:
            self.point = Point(self.point.kind, self.point.parameters, writable=True)
            inputs = inputs_of(self._strategy, self.point, self._bars)
            before = {name: column.copy() for name, column in inputs.columns().items()}
            targets = None
            with suppress(StrategyError):
                targets = targets_of(self._strategy, self.point, inputs)
            for name, column in inputs.columns().items():
                bar = _first_difference(before[name], column)
                if bar is not None:
                    self.found(
                        "mutation",
                        f"it writes into {name}: at {self._at(bar)} {before[name][bar]:g} became "
                        f"{column[bar]:g}. Others share the array, so a run refuses that: write into a copy.",
                        bar,
                    )
            if not self._findings:
                self.found("error", str(refused))
                return None
            return targets

    def _check_values(self) -> bool:
        """Say whether a phase would take the targets."""
        if np.isnan(self.targets).all():
            self.found("no opinion", f"all of its {self.targets.size} targets are NaN: it never trades.")
        wrong = np.flatnonzero(np.abs(self.targets) > 1)
        if wrong.size:
            bar = int(wrong[0])
            message = f"at {self._at(bar)} its target is {self.targets[bar]:g}; it must lie in [-1, 1]."
            self.found("out of range", message, bar)
        return not wrong.size

    def _check_look_ahead(self) -> bool:
        for cut in self._cuts():
            for how, perturb in PERTURBATIONS.items():
                bar = _first_difference(self.targets[:cut], self._run(perturb(self._bars, cut))[:cut])
                if bar is not None:
                    self._narrow(bar, cut, how)
                    return True
        return False

    def _cuts(self) -> list[int]:
        """Choose indices over all bars, and just after bars at which the target changes."""
        size = len(self._bars)
        changes = np.flatnonzero(np.diff(_held(self.targets))) + 2
        spread = np.linspace(size // 8, size - 1, CUTS).astype(np.int64)
        picked = changes[np.linspace(0, changes.size - 1, CUTS).astype(np.int64)] if changes.size else changes
        cuts = {*spread.tolist(), *picked.tolist()}
        return sorted(cut for cut in cuts if size // 8 <= cut < size)

    def _narrow(self, bar: int, cut: int, how: str) -> None:
        """Find a bar that matters: the target changes with the bars from it on, not with those after it."""
        perturb, low, high = PERTURBATIONS[how], cut, len(self._bars)
        became = self._run(perturb(self._bars, cut))[bar]
        while high - low > 1:
            middle = (low + high) // 2
            target = self._run(perturb(self._bars, middle))[bar]
            if _first_difference(self.targets[bar : bar + 1], np.array([target])) is None:
                high = middle
            else:
                low, became = middle, target
        later = f"{low - bar} bar{'s' if low - bar > 1 else ''} later"
        self.found(
            "look-ahead",
            f"the target at {self._at(bar)} depends on {self._at(low)}, {later}: {self.targets[bar]:g} "
            f"becomes {became:g} when the bars from then on are {how}.",
            bar,
            low,
        )

    def _check_history(self) -> None:
        size = len(self._bars)
        whole = _held(self.targets)
        settled = 0
        for count in (1, 7, *(size // part for part in LEFT_OUT)):
            found = _held(self._run(without_first(self._bars, count)))
            apart = np.abs(whole[count:] - found)
            differing = np.flatnonzero(apart > TOLERANCE)
            if not differing.size:
                continue
            last = int(differing[-1])
            if last < END * apart.size:
                settled = max(settled, last + 1)
            elif apart[int(END * apart.size) :].max() <= DECAY * apart.max():
                self._decays = True
            else:
                bar = count + last
                self.found(
                    "history",
                    f"its targets differ up to the end where the first {count} of the bars are left out: "
                    f"at {self._at(bar)} {found[last]:g} in place of {whole[bar]:g}.",
                    bar,
                )
                return
        self._settles_after = None if self._decays else settled

    def _at(self, bar: int) -> str:
        return f"bar {bar} ({self._time(bar)})"

    def _time(self, bar: int) -> str:
        return iso_time(self._bars.time[bar])


def _check_elsewhere(probes: Sequence[_Probe], folders: Sequence[Path], bars: Bars) -> None:
    """Compare with what comes of the same in other processes, whose sets have other orders."""
    if not probes:
        return
    points = [probe.point for probe in probes]
    differing: set[int] = set()
    try:
        for targets in targets_elsewhere(points, folders, bars, HASH_SEEDS):
            for index, probe in enumerate(probes):
                if index not in differing and probe.compare(targets[index], "in another process"):
                    differing.add(index)
    except StrategyError as error:
        probes[0].found("error", str(error))


def _held(targets: Float64) -> Float64:
    """Return targets with "as before" spelled out, flat before the first."""
    known = np.maximum.accumulate(np.where(np.isnan(targets), -1, np.arange(targets.size)))
    held: Float64 = np.where(known < 0, 0.0, targets[known])
    return held


def _first_difference(first: Float64, second: Float64) -> int | None:
    differs = (first != second) & ~(np.isnan(first) & np.isnan(second))
    return int(np.argmax(differs)) if differs.any() else None
