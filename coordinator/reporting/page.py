"""The page of a run: what each phase came to, in charts and figures, in one file without links."""

from collections.abc import Iterator, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from ...domain.events import PhaseOutput, Scalar
from ..configuration.sections import OptimizationSection
from ..phases.rules import objectives_of
from ..result import HEADLINE, LABELS, PhaseResult, WorkflowResult, figure_tables, shown
from ..streams.workspace import Workspace
from . import charts

TRIALS = 100_000
"""Trials that are drawn at most."""
PATHS = 30
"""Paths of a cross-validation that are drawn at most."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22262b; max-width: 1120px; margin: 2em auto }
h1 { font-size: 1.6em; margin-bottom: 0 }
h2 { border-top: 1px solid #d8dade; padding-top: .8em; margin-top: 2em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .15em 1em .15em 0; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
th { font-weight: 600; border-bottom: 1px solid #d8dade } code, .quiet { color: #6b7079; font-size: .9em }
.verdict { border-left: 3px solid #2f6690; padding-left: .8em }
"""
REGIMES = """
SELECT r.time, r.name, b.close
FROM regimes r JOIN feeds f USING (run, phase, symbol) JOIN bars b ON b.stream = f.stream AND b.bar = r.bar
WHERE r.run = ? AND r.phase = ? ORDER BY r.symbol, r.bar
"""


def report_page(workspace: Workspace, result: WorkflowResult) -> str:
    """Return the page of a run as HTML.

    Parameters
    ----------
    workspace
        Where the run is kept.
    result
        The run.
    """
    phases = "".join(_phase(workspace, phase) for phase in result.phases.values())
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(result.name)}</title>"
        f"<style>{STYLE}</style><script>{get_plotlyjs()}</script></head><body>"
        f"<h1>{escape(result.name)}</h1><p class=quiet>{result.run}, {result.status}</p>"
        f"{_overview(result)}{phases}"
        f"<p class=quiet>Every figure can be walked back to the bars that caused it, as in "
        f"<code>admf explain {result.run}/PHASE --metric sharpe_ratio</code>.</p></body></html>\n"
    )


def _overview(result: WorkflowResult) -> str:
    rows = []
    for phase in result.phases.values():
        metrics = phase.output.metrics if phase.ended_well else {}
        cells = [shown(name, metrics[name]) if name in metrics else "" for name in HEADLINE]
        rows.append([phase.name, phase.type or "-", phase.status, *phase.period, *cells])
    heads = [LABELS.get(name, name) for name in HEADLINE]
    return _table(["phase", "type", "status", "from", "to", *heads], rows)


def _phase(workspace: Workspace, phase: PhaseResult) -> str:
    parts = [f"<h2>{escape(phase.name)}</h2>"]
    if phase.reason:
        parts.append(f"<p>{escape(phase.reason)}</p>")
    if phase.ended_well:
        output = phase.output
        if output.verdict:
            parts.append(f"<p class=verdict>{escape(output.verdict)}</p>")
        if output.best and output.best.parameters and not (output.folds or output.weights):
            chosen = [[name, _written(value)] for name, value in output.best.parameters.items()]
            parts.append(_table(["parameter", f"best of {output.trials:,} trials"], chosen))
        parts += [
            chart.to_html(full_html=False, include_plotlyjs=False) for chart in _charts(workspace, phase)
        ]
        parts += [_table(heads, rows) for heads, rows in figure_tables(output.figures)]
        parts.append(f"<p class=quiet>{phase.rows:,} rows in {phase.stream}, head hash {phase.head_hash}</p>")
    return "".join(parts)


def _drawn(chart: go.Figure) -> str:
    shown_as = {"displaylogo": False, "responsive": True}
    return str(chart.to_html(full_html=False, include_plotlyjs=False, config=shown_as))


def _charts(workspace: Workspace, phase: PhaseResult) -> Iterator[go.Figure]:
    output = phase.output
    if output.regimes:
        found = workspace.read_models.frame(REGIMES, (phase.executed_by, phase.turn))
        yield charts.regime_chart(found, [regime.name for regime in output.regimes])
    if output.weights:
        yield charts.weight_chart(output.weights)
    if output.paths:
        yield charts.path_chart([phase.equity(path.container) for path in output.paths[:PATHS]])
    if output.best is not None and not (curve := phase.equity()).empty:
        yield charts.equity_chart(curve)
        yield charts.returns_chart(phase.monthly_returns())
        yield from _trades(phase, output.best.container)
    if output.folds:
        yield charts.fold_chart(output.folds, output.objective or "sharpe_ratio")
    elif output.objective and not output.weights and 1 < output.trials <= TRIALS:
        yield from _trials(phase, output)


def _trades(phase: PhaseResult, container: int) -> Iterator[go.Figure]:
    trades = phase.trades()
    chosen = trades[trades["container"] == container]
    if not chosen.empty:
        yield charts.excursion_chart(chosen)


def _trials(phase: PhaseResult, output: PhaseOutput) -> Iterator[go.Figure]:
    trials = phase.trials()
    if trials.empty:
        return
    names = [name for name in (output.best.parameters if output.best else ()) if trials[name].nunique() > 1]
    if names:
        yield charts.parameter_chart(trials, names, output.objective)
    objectives = [name for name, _ in objectives_of(phase.section.optimization or OptimizationSection())]
    if output.front and len(objectives) > 1:
        yield charts.front_chart(trials, [trial.container for trial in output.front], objectives)


def _written(value: Scalar) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
