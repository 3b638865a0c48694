"""What a run came to, as a screen and as an object for scripts."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from rich.console import RenderableType
from rich.text import Text

from ...domain.events import PhaseOutput, Scalar
from ...domain.expressions import satisfied
from ...domain.metrics import METRICS
from ..configuration.sections import OptimizationSection, PhaseSection
from ..monitoring.process_state import STALE
from ..monitoring.run_list import RunEntry
from ..monitoring.status import RunStatus
from ..phases.rules import constraints_on, objectives_of
from ..result import HEADLINE, LABELS, PhaseResult, WorkflowResult, figure_tables, shown
from ..streams.workspace import Workspace
from .console import GAP, STATUS, fitted, note, status_text, table, width

HASH = 16
"""Hexadecimal digits of a head hash that a screen shows; `--json` has them all."""
TOP = 10
"""Trials of an optimization that a screen shows."""
DAY = len("2000-01-01")
"""Characters of a time that tell the day."""
TRIALS = """
SELECT t.container, t.parameters, m.* EXCLUDE (run, phase, container)
FROM trials t JOIN portfolio_metrics m USING (run, phase, container)
WHERE run = ? AND phase = ? ORDER BY {objective} {order} NULLS LAST, container LIMIT ?
"""


class PhaseObject(msgspec.Struct, frozen=True):
    """A phase in the output of ``--json``; ``reason`` is that of `PhaseResult`."""

    type: str
    status: str
    stream: str
    head_hash: str
    events: int
    rows: int
    output: PhaseOutput | None
    reason: str


class RunObject(msgspec.Struct, frozen=True):
    """A run in the output of ``--json``; ``metrics`` are those of the last phase that was completed."""

    run: str
    name: str
    status: str
    error: str | None
    store: str
    elapsed: float | None
    metrics: dict[str, float]
    phases: dict[str, PhaseObject]
    warnings: tuple[str, ...]


class Column(msgspec.Struct, frozen=True):
    """A phase on the screen; one with walk-forward folds has two, in and out of sample."""

    phase: str
    sample: str
    cells: Mapping[str, str]


def run_object(workspace: Workspace, result: WorkflowResult, entry: RunEntry) -> RunObject:
    """Return what a run came to, for scripts."""
    phases = {
        name: PhaseObject(
            type=phase.type,
            status=phase.status,
            stream=phase.stream,
            head_hash=phase.head_hash,
            events=phase.events,
            rows=phase.rows,
            output=phase.output if phase.ended_well else None,
            reason=phase.reason,
        )
        for name, phase in result.phases.items()
    }
    return RunObject(
        result.run,
        result.name,
        entry.status,
        entry.error,
        workspace.name,
        entry.elapsed,
        result.metrics,
        phases,
        result.warnings,
    )


def run_screen(workspace: Workspace, result: WorkflowResult, entry: RunEntry) -> list[RenderableType]:
    """Return what a run came to: a table with a column for each phase, and where it is kept."""
    head = Text.assemble((result.name, "bold"), "  ", status_text(entry.status))
    if entry.elapsed is not None:
        head.append(f"  {seconds(entry.elapsed)}", style="dim")
    why = [Text(entry.error, style=STATUS[entry.status])] if entry.error else []
    where = note(f"{result.run} in {workspace.name}")
    origin = [note(f"forked from {entry.forked_from}")] if entry.forked_from else []
    reasons = [note(f"{phase.name}: {phase.reason}") for phase in result.phases.values() if phase.reason]
    tables = [*_tables(_columns(result)), *([""] if reasons else []), *reasons]
    return [head, *why, "", *tables, "", where, *origin, *stale_hint([entry])]


def detail_screen(workspace: Workspace, result: WorkflowResult) -> list[RenderableType]:
    """Return what analyses found, weights of ensembles, folds of validations, and top trials of searches."""
    parts: list[RenderableType] = []
    for phase in result.phases.values():
        if not phase.ended_well:
            continue
        if phase.output.verdict:
            parts += ["", Text(phase.name, style="bold"), Text(phase.output.verdict), *_figures(phase.output)]
        if phase.output.weights:
            parts += ["", Text(f"{phase.name}: weights", style="bold"), *_weights(phase.output)]
        if phase.output.folds:
            what = "tests" if phase.output.paths else "folds"
            parts += ["", Text(f"{phase.name}: {len(phase.output.folds)} {what}", style="bold")]
            parts += _folds(phase.output)
        elif not phase.output.verdict and phase.output.objective and phase.output.trials > 1:
            direction = "highest" if phase.output.direction == "maximize" else "lowest"
            what = f"{direction} {phase.output.objective}"
            if phase.output.front:
                what = f"front of {len(phase.output.front):,}"
            heading = f"{phase.name}: {what} of {phase.output.trials:,} trials"
            parts += ["", Text(heading, style="bold"), *_top_trials(workspace, phase)]
    return parts


def hints(result: WorkflowResult, store: str) -> Text:
    """Return commands that may be of use after a run; `store` is named in them unless it is empty."""
    run, phases = short(result.run), list(result.phases.values())
    last = ([phase for phase in phases if phase.ended_well] or phases)[-1]
    executed = short(last.executed_by)
    option = f" --store {store}" if store else ""
    return note(
        f"next  admf show {run}{option}\n"
        f"      admf events {run}/{last.name} --type OrdersFilled{option}\n"
        f"      admf query \"SELECT * FROM trades WHERE run LIKE '%{executed}'\"{option}"
    )


def stale_hint(entries: Sequence[RunEntry | RunStatus]) -> list[Text]:
    """Return how runs are carried on whose processes are gone, if there are any."""
    commands = [f"`admf resume {short(entry.run)}`" for entry in entries if entry.status == STALE]
    return [note(f"stale: the process is gone; {' or '.join(commands)} carries it on.")] if commands else []


def short(run: str) -> str:
    """Return the end of a run's id, which is enough to name it."""
    return run.rpartition("_")[2]


def seconds(elapsed: float) -> str:
    """Write a duration in the largest unit that it fills."""
    if elapsed < 60:
        return f"{elapsed:.2f} s"
    minutes, rest = divmod(round(elapsed), 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {rest:02} s"


def _columns(result: WorkflowResult) -> Iterator[Column]:
    tuned = list(dict.fromkeys(name for phase in result.phases.values() for name in _best(phase)))
    for phase in result.phases.values():
        cells = {"type": phase.type or "-", "status": phase.status}
        if not phase.ended_well:
            yield Column(phase.name, "", cells)
            continue
        output = phase.output
        first, last = phase.period
        cells |= {"from": first, "to": last, "trials": f"{output.trials:,}"}
        if not output.folds:
            values = {**_configured(phase.section), **_best(phase)}
            cells |= {name: str(values[name]) for name in tuned if name in values}
        logged = {
            "events": f"{phase.events:,}",
            "rows": f"{phase.rows:,}",
            "head hash": phase.head_hash[:HASH],
        }
        if in_sample := [fold.best for fold in output.folds if fold.best]:
            begin = min(fold.train_start for fold in output.folds)[:DAY]
            end = max(fold.train_end for fold in output.folds)[:DAY]
            means = {name: _mean([trial.metrics[name] for trial in in_sample]) for name in HEADLINE}
            yield Column(
                phase.name,
                "mean in sample",
                {**cells, "from": begin, "to": end, **_headline(means), **logged},
            )
            cells = {"from": first, "to": last, "trials": f"{len(output.folds):,}"}
            logged = {}
        sample = "out of sample" if output.folds else ""
        if output.paths:
            sample = f"mean of {len(output.paths)} paths"
        yield Column(phase.name, sample, {**cells, **_headline(output.metrics), **logged})


def _tables(columns: Iterator[Column]) -> Iterator[RenderableType]:
    """Set columns side by side, as many as fit into a line, block by block."""
    found = list(columns)
    order = dict.fromkeys(name for column in found for name in column.cells)
    known = ("type", "status", "from", "to", "trials")
    log = ("events", "rows", "head hash")
    parameters = [name for name in order if name not in (*known, *HEADLINE, *log)]
    names = [name for name in (*known, *parameters, *HEADLINE, *log) if name in order]
    label = max(map(len, names)) + GAP
    each = max(HASH, *(max(len(column.phase), len(column.sample)) for column in found)) + GAP
    step = max(1, (width() + GAP - label) // each)
    for start in range(0, len(found), step):
        block = found[start : start + step]
        rows: list[list[str | Text]] = []
        if any(column.sample for column in block):
            rows.append([Text(""), *(note(column.sample) for column in block)])
        for name in names:
            if any(name in column.cells for column in block):
                cells = (column.cells.get(name, "") for column in block)
                rows.append(
                    [note(name), *(status_text(cell) if name == "status" else cell for cell in cells)]
                )
        if start:
            yield ""
        yield table(["", *(column.phase for column in block)], rows, left=("",))


def _folds(output: PhaseOutput) -> list[RenderableType]:
    """Return a table of the folds; in and out of sample stand side by side where there are both."""
    best = output.folds[0].best
    names = _short_names(best.parameters) if best else []
    both = [output.objective] if best else []
    tests = list(
        dict.fromkeys((output.objective or "sharpe_ratio", "total_return", "max_drawdown", "trades"))
    )
    rows = []
    for fold in output.folds:
        chosen = map(str, fold.best.parameters.values()) if fold.best else ()
        inside = (shown(name, fold.best.metrics[name]) for name in both) if fold.best else ()
        outside = (shown(name, fold.test.metrics[name]) for name in tests)
        rows.append([str(fold.number + 1), fold.test_start, *chosen, *inside, *outside])
    heads = [f"in {LABELS.get(name, name)}" for name in both]
    heads += [f"out {LABELS.get(tests[0], tests[0])}", *(LABELS.get(name, name) for name in tests[1:])]
    return fitted(["fold", "tests from", *names, *heads], rows)


def _weights(output: PhaseOutput) -> list[RenderableType]:
    """Return a table of the members of an ensemble, with their weights."""
    regimes = list(output.weights[0].regimes)
    rows = []
    for member in output.weights:
        told = ", ".join(f"{name}={value}" for name, value in member.parameters.items())
        weights = (member.weight, *(member.regimes[name] for name in regimes))
        rows.append([member.name, told, *(f"{weight:.2%}" for weight in weights)])
    return fitted(["member", "parameters", "weight", *regimes], rows, left=("member", "parameters"))


def _figures(output: PhaseOutput) -> list[RenderableType]:
    """Return the figures of an analysis, in tables."""
    return [
        part
        for heads, rows in figure_tables(output.figures)
        for part in ("", *fitted(heads, rows, left=heads[:1]))
    ][1:]


def _top_trials(workspace: Workspace, phase: PhaseResult) -> list[RenderableType]:
    """Return the best trials that satisfy all constraints; of several objectives, those on the front."""
    study = phase.section.optimization or OptimizationSection()
    order = "DESC" if phase.output.direction == "maximize" else "ASC"
    sql = TRIALS.format(objective=f'm."{phase.output.objective}"', order=order)
    front = {trial.container for trial in phase.output.front}
    metrics = list(dict.fromkeys([*(name for name, _ in objectives_of(study)), *HEADLINE]))
    rows = []
    names: list[str] = []
    limit = phase.output.trials if front or study.constraints else TOP
    for record in workspace.read_models.query(sql, (phase.executed_by, phase.turn, limit)).records():
        parameters = msgspec.json.decode(str(record["parameters"]), type=dict[str, Scalar])
        values = {name: _number(record[name]) for name in METRICS if name in record}
        if (front and record["container"] not in front) or not _is_feasible(study, {**parameters, **values}):
            continue
        names = _short_names(parameters)
        figures = (shown(name, values[name]) for name in metrics)
        rows.append([str(record["container"]), *map(str, parameters.values()), *figures])
        if len(rows) == TOP:
            break
    return fitted(["container", *names, *(LABELS.get(name, name) for name in metrics)], rows)


def _is_feasible(study: OptimizationSection, values: Mapping[str, Scalar]) -> bool:
    return all(bool(satisfied(text, values)) for text in constraints_on(study, values))


def _short_names(parameters: Mapping[str, Scalar]) -> list[str]:
    """Name parameters without their strategy where all are of the same one."""
    if len({name.partition(".")[0] for name in parameters}) == 1:
        return [name.partition(".")[2] for name in parameters]
    return list(parameters)


def _best(phase: PhaseResult) -> dict[str, Scalar]:
    if not phase.ended_well or phase.output.folds or phase.output.weights or phase.output.best is None:
        return {}
    return phase.output.best.parameters


def _configured(section: PhaseSection) -> dict[str, Scalar]:
    strategies = {
        f"{strategy.name}.{name}": value
        for strategy in section.strategies
        for name, value in strategy.parameters.items()
    }
    sizers = {
        f"{sizer.name}.{name}": value
        for sizer in section.risk.position_sizers
        for name in ("percentage", "size", "units")
        if (value := getattr(sizer, name)) is not None
    }
    return {**strategies, **sizers}


def _headline(metrics: Mapping[str, float]) -> dict[str, str]:
    return {name: shown(name, metrics.get(name, float("nan"))) for name in HEADLINE}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else float("nan")
