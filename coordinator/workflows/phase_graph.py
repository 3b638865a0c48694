"""The graph of a workflow: its phases, what each depends on, and what can be carried out next."""

from collections.abc import Mapping, Sequence

import msgspec

from ...domain.errors import ConfigurationError, UnknownNameError
from ...domain.expressions import names_in
from ..configuration.reading import read_section
from ..configuration.references import FIRST_STEPS, PREVIOUS, owner, referred
from ..configuration.sections import CourseSection, RepeatSection
from ..configuration.sources import Raw

COURSE = frozenset(CourseSection.model_fields)
FIXED = (
    "name",
    "type",
    "inherit_best_from",
    "more_signals_from",
    "regimes",
    "data.file",
    "data.files",
    "data.symbol",
    "data.timeframe",
)
"""What must be known before the first phase begins."""
TURN = "turn"
"""What stands for the number of a turn in the condition of a loop."""
COMPLETED = "completed"
SKIPPED = "skipped"
FAILED = "failed"
CACHED = "cached"
ENDED_WELL = frozenset({COMPLETED, "reused", CACHED})


class Node(msgspec.Struct, frozen=True):
    """A phase in its graph.

    Attributes
    ----------
    name, type
        As written.
    work
        What it says about its work, as written.
    course
        Whether, when and how often it is carried out.
    where
        Its path in the configuration.
    before
        The phases that it depends on: those that it says, the one it inherits from, those it refers to.
    reads
        Those of them whose output, or status, it or its condition refers to, or takes more members from.
    """

    name: str
    type: str
    work: Raw
    course: CourseSection
    where: str
    before: tuple[str, ...]
    reads: tuple[str, ...]


class PhaseGraph(msgspec.Struct, frozen=True):
    """Phases in the order of their execution: each after those that it depends on, else as written."""

    nodes: tuple[Node, ...]

    def ready(self, outcomes: Mapping[str, str]) -> list[Node]:
        """Return the phases that have not ended, and wait for none that has not.

        Parameters
        ----------
        outcomes
            What came of each phase that has ended: ``completed``, ``reused``, ``cached``, ``skipped`` or
            ``failed``.
        """
        return [
            node
            for node in self.nodes
            if node.name not in outcomes and all(name in outcomes for name in node.before)
        ]

    def obstacle(self, node: Node, outcomes: Mapping[str, str]) -> str:
        """Say which phases keep one from being carried out; empty if none does."""
        if node.course.requires == "ended":
            return ""
        return ", ".join(
            f"{name} {'was skipped' if outcomes[name] == SKIPPED else outcomes[name]}"
            for name in node.before
            if outcomes[name] not in ENDED_WELL
        )


def phase_graph(phases: Sequence[object]) -> PhaseGraph:
    """Build the graph of phases as they are written.

    Raises
    ------
    ConfigurationError
        A phase has no name, two have the same, a condition is wrong, or phases depend on each other in a
        circle.
    UnknownNameError
        A phase refers to one that there is not.
    """
    named: dict[str, tuple[Raw, str]] = {}
    for index, raw in enumerate(phases):
        where = f"workflow.phases[{index}]"
        if not isinstance(raw, dict) or "name" not in raw:
            raise ConfigurationError(f"{where}: a phase must be a mapping with a name, was {raw!r}.")
        name = str(raw["name"])
        if name in named:
            raise ConfigurationError(f"{where}.name: two phases are called {name!r}; names must differ.")
        if name == PREVIOUS:
            raise ConfigurationError(f"{where}.name: {name!r} stands for a loop's last turn; choose another.")
        named[name] = (raw, where)
    return PhaseGraph(_ordered([_node(raw, where, named) for raw, where in named.values()]))


def sources(raw: Raw) -> list[str]:
    """Return the phases that one names as its sources: first the one it inherits from, or an empty text."""
    more = raw.get("more_signals_from")
    others = [*map(str, more)] if isinstance(more, list | tuple) else []
    return [str(raw.get("inherit_best_from") or ""), *others, str(raw.get("regimes") or "")]


def loop_end(repeat: RepeatSection, turn: int, holds: bool, now: float | None, before: float | None) -> str:
    """Say why a loop ends with a turn; empty if another one follows.

    Parameters
    ----------
    repeat
        The loop.
    turn
        Number of the turn, from 1.
    holds
        Whether its condition holds after that turn.
    now, before
        What it watches, after that turn and the one before; None for nothing.
    """
    if holds:
        return f"until {repeat.until}"
    if repeat.tolerance is not None and now is not None and before is not None:
        change = abs(now - before)
        if change < repeat.tolerance:
            return f"converged: {repeat.of} changed by {change:.6g}, less than {repeat.tolerance:g}"
    return f"all {repeat.max} turns were taken" if turn >= repeat.max else ""


def _node(raw: Raw, where: str, phases: Mapping[str, object]) -> Node:
    course = read_section(CourseSection, {key: raw[key] for key in raw if key in COURSE}, where)
    work = {key: value for key, value in raw.items() if key not in COURSE}
    stated = raw.get("depends_on", ())
    if not isinstance(stated, list | tuple):
        raise ConfigurationError(f"{where}.depends_on: must be a list of phase names, was {stated!r}.")
    paths = [*referred(work, where)]
    for _, place in paths:
        if any(f"{place}.".startswith(f"{where}.{key}.") for key in FIXED):
            raise ConfigurationError(f"{place}: is needed before the first phase begins; state it.")
    if course.when:
        paths += [(name, f"{where}.when") for name in names_in(course.when, f"{where}.when")]
    name = str(raw["name"])
    if course.repeat and course.repeat.until:
        until = f"{where}.repeat.until"
        paths += [(path, until) for path in names_in(course.repeat.until, until) if not _own(path, name)]
    elif course.repeat is None and (looped := [place for path, place in paths if _is_previous(path)]):
        raise ConfigurationError(f"{looped[0]}: only a phase with `repeat` has a {PREVIOUS} turn.")
    owners = {owner(path, {*phases, PREVIOUS}, place) for path, place in paths}
    # The recorded configuration has sorted keys: their order must not count.
    members = [name for name in sources(raw)[1:] if name]
    reads = [each for each in phases if each in owners or each in members]
    before = dict.fromkeys([*map(str, stated), *filter(None, sources(raw)[:1]), *members, *reads])
    for unknown in sorted(set(before) - set(phases)):
        raise UnknownNameError("phase", unknown, phases, where)
    return Node(name, str(raw.get("type", "")), work, course, where, tuple(before), tuple(reads))


def _own(path: str, phase: str) -> bool:
    """Whether a path in the condition of a loop leads into its own output, or is the number of its turn."""
    return path == TURN or path.startswith(f"{phase}.") or path.partition(".")[0] in FIRST_STEPS


def _is_previous(path: str) -> bool:
    return path.startswith(f"{PREVIOUS}.")


def _ordered(nodes: Sequence[Node]) -> tuple[Node, ...]:
    graph, done = PhaseGraph(tuple(nodes)), dict[str, Node]()
    while ready := graph.ready(dict.fromkeys(done, "")):
        done[ready[0].name] = ready[0]
    if left := [node.name for node in nodes if node.name not in done]:
        raise ConfigurationError(
            f"workflow.phases: {', '.join(left)} depend on each other in a circle; remove one dependency."
        )
    return tuple(done.values())
