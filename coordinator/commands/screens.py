"""What the commands show that answer questions: lists, events, rows of SQL, and components."""

from collections.abc import Sequence
from itertools import groupby

import msgspec
from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from ..audit.explanation import Explanation
from ..monitoring.run_list import RunEntry
from ..result import shown
from ..streams.logical_events import FieldValue, LogicalEvent, Selection
from ..workflows.check import WorkflowCheck
from .catalog import Component, Template
from .console import GAP, cut, fitted, grid, note, status_text, table, width
from .run_report import seconds, stale_hint

PLURALS = {
    "strategy": "strategies",
    "feature": "features",
    "phase type": "phase types",
    "metric": "metrics, by the profile admf",
    "fill policy": "execution, by key",
}


def runs_screen(entries: Sequence[RunEntry]) -> list[RenderableType]:
    """Return the list of runs."""
    if not entries:
        return [note("no runs yet; `admf run train_test` makes one.")]
    rows: list[list[str | Text]] = [
        [
            entry.run,
            entry.name,
            status_text(entry.status),
            f"{entry.started_at:%Y-%m-%d %H:%M}",
            "-" if entry.elapsed is None else seconds(entry.elapsed),
            f"{entry.completed}/{entry.phases}",
            "-" if entry.sharpe_ratio is None else shown("sharpe_ratio", entry.sharpe_ratio),
        ]
        for entry in entries
    ]
    columns = ("run", "name", "status", "started (UTC)", "elapsed", "phases", "Sharpe")
    return [*fitted(columns, rows, left=("run", "name", "status")), *stale_hint(entries)]


def events_screen(stream: str, selection: Selection) -> list[RenderableType]:
    """Return logical events, with a column for each field where all are rows of one type."""
    events = selection.events
    if not events:
        return [note(f"no such events in {stream}.")]
    kinds = {event.type for event in events}
    rows: list[list[str]] = []
    if len(kinds) == 1 and events[0].time is not None:
        head = Text.assemble((stream, "bold"), f"  {events[0].type}")
        names = list(events[0].fields)
        numbers = {name for name, value in events[0].fields.items() if isinstance(value, int | float)}
        rows = [[_number(event), event.time or "", *map(_field, event.fields.values())] for event in events]
        listed = fitted(["#", "time", *names], rows, left={"time", *names} - numbers)
    else:
        head = Text(stream, style="bold")
        for event in events:
            fields = " ".join(f"{name}={_field(value)}" for name, value in event.fields.items())
            rows.append([_number(event), event.time or event.recorded_at[:19], event.type, fields])
        used = sum(max(map(len, column)) + GAP for column in list(zip(*rows, strict=True))[:-1])
        rows = [[*row[:-1], cut(row[-1], width() - used)] for row in rows]
        listed = [table(["#", "time", "type", "fields"], rows, left=("time", "type", "fields"))]
    if selection.more:
        listed.append(note(f"{selection.more:,} more; --limit {len(events) + selection.more} shows all."))
    return [head, *listed]


def event_line(event: LogicalEvent) -> Text:
    """Return a logical event as one line."""
    fields = " ".join(f"{name}={_field(value)}" for name, value in event.fields.items())
    number = note(f"{_number(event):>8}")
    return Text.assemble(
        number, "  ", event.time or event.recorded_at[:19], "  ", (event.type, "cyan"), "  ", fields
    )


def explanation_screen(explanation: Explanation) -> Tree:
    """Return a causal chain as a tree, from the effect to its causes."""
    tree = Tree(_explained(explanation), guide_style="dim")
    for cause in explanation.causes:
        tree.children.append(explanation_screen(cause))
    return tree


def check_object(check: WorkflowCheck) -> dict[str, object]:
    """Return what a workflow would do, for scripts."""
    phases = [
        {
            "name": phase.section.name,
            "type": phase.section.type,
            "depends_on": phase.section.depends_on,
            "inherit_best_from": phase.section.inherit_best_from or None,
            "trials": phase.trials,
            "bars": phase.bars,
            "first_time": phase.first_time,
            "last_time": phase.last_time,
            "configuration": msgspec.Raw(phase.section.json_text().encode()),
        }
        for phase in check.phases
    ]
    return {"name": check.name, "seed": check.seed, "phases": phases, "warnings": check.warnings}


def check_screen(check: WorkflowCheck) -> list[RenderableType]:
    """Return the phases of a workflow in the order of execution."""
    rows = [
        [
            phase.section.name,
            phase.section.type,
            phase.section.inherit_best_from or "-",
            "?" if phase.trials is None else f"{phase.trials:,}",
            f"{phase.bars:,}",
            phase.first_time,
            phase.last_time,
        ]
        for phase in check.phases
    ]
    columns = ("phase", "type", "inherits", "trials", "bars", "from", "to")
    head = Text.assemble((check.name, "bold"), "  ", ("valid", "green"))
    return [head, "", *fitted(columns, rows, left={"phase", "type", "inherits"})]


def components_screen(components: Sequence[Component]) -> list[RenderableType]:
    """Return components, kind by kind, a few words on each."""
    parts: list[RenderableType] = []
    for kind, members in groupby(components, key=lambda component: component.kind):
        rows = [(Text(member.name, style="cyan"), _summary(member)) for member in members]
        parts += ["", Text(PLURALS[kind], style="bold"), grid(rows)]
    return parts[1:]


def component_screen(component: Component) -> list[RenderableType]:
    """Return all that is known about a component."""
    facts = {
        **{name: _parameter(component, name) for name in component.parameters},
        "constraints": ", ".join(component.constraints),
        "of": ", ".join(component.inputs),
        "unit": component.unit,
        "better": {"maximize": "higher", "minimize": "lower"}.get(component.direction, ""),
        **component.formulas,
    }
    rows = [(note(name), Text(fact)) for name, fact in facts.items() if fact]
    head = Text.assemble((component.name, "bold"), f"  {component.kind}")
    return [head, *([component.description] if component.description else ()), grid(rows)]


def templates_screen(templates: Sequence[Template]) -> RenderableType:
    """Return the list of templates."""
    return grid([(Text(template.name, style="cyan"), Text(template.description)) for template in templates])


def _explained(explanation: Explanation) -> Text:
    said = ((f"  {name} ", _field(value)) for name, value in explanation.values.items() if value != "")
    facts = [part for name, value in said for part in ((name, "dim"), value)]
    address = (f"  {explanation.address}", "cyan") if explanation.address else ""
    return Text.assemble((explanation.title, "bold"), *facts, address)


def _number(event: LogicalEvent) -> str:
    return event.address.rpartition("#")[2]


def _field(value: FieldValue) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _summary(component: Component) -> Text:
    if component.kind == "feature":
        said = ", ".join(f"{name}={value}" for name, value in component.parameters.items())
        return Text.assemble(component.description, (f"  {said}" if said else "", "dim"))
    if component.kind == "metric":
        unit = f"  {component.unit}" if component.unit else ""
        return Text.assemble(component.formulas["admf"], (unit, "dim"))
    summary = Text(component.description)
    for name in component.parameters:
        summary.append(f"\n{name} {_parameter(component, name)}", style="dim")
    return summary


def _parameter(component: Component, name: str) -> str:
    value = component.parameters[name]
    if component.kind == "feature":
        return f"such as {value}; at least {component.minimum[name]}"
    searched = ", ".join(map(str, component.space.get(name, ())))
    return f"{value}" + (f"; searched: {searched}" if searched else "")
