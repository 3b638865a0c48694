"""Pictures of a workflow's graph, and of how far a run of it has come: Mermaid, and a tree."""

import re
from collections.abc import Iterator

import msgspec

from ...eventstore.store import EventStore
from ..configuration.sections import RepeatSection
from ..streams.run_history import run_history
from ..streams.trace_query import TraceQuery
from ..workflows.loading import Workflow
from ..workflows.phase_graph import Node
from .status import phases_under_way

IDENTIFIER = re.compile(r"[A-Za-z]\w*")
RESERVED = frozenset({"end", "graph", "flowchart", "subgraph", "class", "click", "style", "default"})
"""Words of Mermaid that can't name a node."""
FILLS = {
    "completed": "#c8e6c9",
    "reused": "#b2dfdb",
    "cached": "#b2ebf2",
    "running": "#bbdefb",
    "failed": "#ffcdd2",
    "skipped": "#eeeeee",
}
"""Colours of the statuses that a phase of a run may have."""


class PhasePicture(msgspec.Struct, frozen=True):
    """A phase as it is shown.

    Attributes
    ----------
    name, type
        As written.
    after
        The phases that it depends on.
    when
        Its condition, if it has one.
    notes
        What else decides whether, when and how often it is carried out.
    status
        In a run, what came of it, ``running`` or ``waiting``; else empty.
    turns
        In a run, the number of turns that it has begun.
    reason
        Why it was skipped or failed, took no other turn, or where it was taken from; how far it has come if
        it is under way.
    """

    name: str
    type: str
    after: tuple[str, ...]
    when: str
    notes: tuple[str, ...]
    status: str = ""
    turns: int = 0
    reason: str = ""


class GraphPicture(msgspec.Struct, frozen=True):
    """A workflow, or a run of it, as it is shown: its phases in the order of execution."""

    name: str
    phases: tuple[PhasePicture, ...]


def workflow_picture(workflow: Workflow) -> GraphPicture:
    """Picture a workflow; raises as its graph does."""
    return GraphPicture(workflow.name, tuple(_picture(node) for node in workflow.graph.nodes))


def run_picture(store: EventStore, run: str) -> GraphPicture:
    """Picture a run with what came of each phase.

    Raises
    ------
    NotFoundError
        There is no such run.
    """
    history, trace = run_history(store, run), TraceQuery(store)
    workflow = Workflow.from_json(history.started.configuration, history.started.folder)
    phases = []
    for node in workflow.graph.nodes:
        turns = trace.turns(run, node.name)
        begun = len(turns) if store.head(turns[0]).version else 0
        running = [turns[-1]] if begun and node.name not in history.outcomes else []
        progress = "".join(map(str, phases_under_way(store, history, running)))
        phases.append(
            msgspec.structs.replace(
                _picture(node),
                status=history.outcomes.get(node.name, "running" if begun else "waiting"),
                turns=begun,
                reason=history.phase_reason(node.name) or progress,
            )
        )
    return GraphPicture(history.started.name, tuple(phases))


def mermaid(picture: GraphPicture) -> str:
    """Write a picture in the language of Mermaid."""
    ids = {phase.name: _id(phase.name, number) for number, phase in enumerate(picture.phases, start=1)}
    lines = ["graph TD"]
    for phase in picture.phases:
        rest = [f"when {phase.when}", *phase.notes] if phase.when else [*phase.notes]
        if phase.status:
            rest.append(phase.status + (f", {phase.turns} turns" if phase.turns > 1 else ""))
        label = "<br/>".join(map(_escaped, [phase.name, phase.type, *rest]))
        lines.append(f'    {ids[phase.name]}["{label}"]')
    for phase in picture.phases:
        arrow = "-.->" if phase.when else "-->"
        lines += [f"    {ids[before]} {arrow} {ids[phase.name]}" for before in phase.after]
    for status, fill in FILLS.items():
        if members := ",".join(ids[phase.name] for phase in picture.phases if phase.status == status):
            lines += [f"    classDef {status} fill:{fill}", f"    class {members} {status}"]
    return "\n".join(lines) + "\n"


def _picture(node: Node) -> PhasePicture:
    return PhasePicture(node.name, node.type, node.before, node.course.when, tuple(_notes(node)))


def _notes(node: Node) -> Iterator[str]:
    course = node.course
    if course.repeat:
        yield _loop(course.repeat)
    if course.requires == "ended":
        yield "also after a failure"
    if course.continue_on_failure:
        yield "may fail"
    if course.retries:
        yield f"{course.retries} retries"
    if course.timeout_seconds:
        yield f"at most {course.timeout_seconds:g} s"


def _loop(repeat: RepeatSection) -> str:
    ends = [repeat.until] if repeat.until else []
    if repeat.tolerance is not None:
        ends.append(f"{repeat.of} changes by less than {repeat.tolerance:g}")
    return f"repeats{' until ' if ends else ''}{' or '.join(ends)}, at most {repeat.max} times"


def _id(name: str, number: int) -> str:
    return name if IDENTIFIER.fullmatch(name) and name.lower() not in RESERVED else f"phase{number}"


def _escaped(text: str) -> str:
    return text.replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
