"""What came of a run: read from its streams and the read models, whenever it is asked for."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ..domain.bars import iso_day
from ..domain.errors import NotFoundError
from ..domain.events import Float64, Int64, PhaseOutput, PhaseStarted, Scalar
from .configuration.sections import PhaseSection
from .market.market_log import MarketLog
from .streams.extraction import Row, extracted_results
from .streams.run_history import RunHistory, run_history
from .streams.trace_query import TraceQuery
from .streams.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from .workflows.check import PhaseCheck, WorkflowCheck

HEADLINE = ("total_return", "annual_return", "sharpe_ratio", "max_drawdown", "trades", "win_rate", "exposure")
"""Metrics that a summary shows, in this order."""
FRACTIONS = frozenset({"total_return", "annual_return", "max_drawdown", "win_rate", "exposure"})
"""Headline metrics that are shown as percentages."""
LABELS = {
    "total_return": "return",
    "annual_return": "annual",
    "sharpe_ratio": "Sharpe",
    "max_drawdown": "drawdown",
    "win_rate": "wins",
    "exposure": "exposed",
}
"""Short names of the headline metrics, for the heads of columns."""

DAY = len("2000-01-01")
"""Characters of a time that say the day."""

ENDED_OTHERWISE = frozenset({"failed", "skipped"})
"""Statuses of phases that handed nothing on."""


class PhaseResult:
    """What came of one phase.

    Its attributes can also be read by key: ``phase["extracted_results"]``. ``executed_by`` is the run that it
    belongs to: of a reused phase, another one than the result's. ``turn`` is what the read models call it, of
    a phase that repeats its last turn, such as ``refine#3``; ``reason`` says why it was skipped, failed, or
    did not take another turn, or where it was taken from.
    """

    def __init__(
        self, workspace: Workspace, history: RunHistory, name: str, check: "PhaseCheck | None" = None
    ) -> None:
        done = history.completed.get(name) or history.reused.get(name)
        self._workspace = workspace
        self._run = history.head.stream
        self._check = check
        self.name = name
        self.stream = done.stream if done else TraceQuery(workspace.store).stream(self._run, name)
        self.executed_by, _, self.turn = self.stream.partition("/")
        self.status = history.phase_status(name)
        self.reason = history.phase_reason(name)
        self.head_hash = done.head_hash if done else ""
        self.events = done.events if done else 0
        self.rows = done.rows if done else 0

    def __getitem__(self, key: str) -> object:
        if key.startswith("_") or not hasattr(self, key):
            raise KeyError(key)
        return getattr(self, key)

    @cached_property
    def _started(self) -> PhaseStarted | None:
        trace = TraceQuery(self._workspace.store).events(self.stream, PhaseStarted.__name__)
        return next((event for recorded in trace if isinstance(event := recorded.event, PhaseStarted)), None)

    @cached_property
    def section(self) -> PhaseSection:
        """Its resolved configuration; `NotFoundError` is raised for a phase that has not started."""
        if self._started is None:
            raise NotFoundError(f"the phase {self.name!r} of the run {self._run} has not started.")
        return PhaseSection.model_validate_json(self._started.configuration)

    @property
    def type(self) -> str:
        """Its type; empty for a phase that has not started."""
        return self._started.type if self._started else ""

    @cached_property
    def period(self) -> tuple[str, str]:
        """First and last day that was traded, of folds out of sample; empty before it started."""
        if self.ended_well and self.output.folds:
            return self.output.folds[0].test_start[:DAY], self.output.folds[-1].test_end[:DAY]
        if self._started is None:
            return "", ""
        if self._check:
            return self._check.first_time[:DAY], self._check.last_time[:DAY]
        panel, window = MarketLog(self._workspace.store).window(self.section, self._started.feeds)
        return iso_day(panel.time[window.first]), iso_day(panel.time[window.stop - 1])

    @property
    def ended_well(self) -> bool:
        """Whether it handed something on."""
        return self.status in ("completed", "reused", "cached")

    @cached_property
    def output(self) -> PhaseOutput:
        """What the phase handed on; `NotFoundError` is raised for a phase that did not end well."""
        return TraceQuery(self._workspace.store).get_phase_output(self._run, self.name)

    @property
    def metrics(self) -> dict[str, float]:
        """The headline metrics that it handed on; raises as `output`."""
        return self.output.metrics

    @property
    def best_params(self) -> dict[str, Scalar]:
        """Parameters of its best trial, none where nothing was chosen; raises as `output`."""
        return self.output.best.parameters if self.output.best else {}

    @property
    def optimal_params_by_regime(self) -> dict[str, dict[str, Scalar]]:
        """Best parameters of each regime that has any, by its name; raises as `output`."""
        return {regime.name: regime.best.parameters for regime in self.output.regimes if regime.best}

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the members of an ensemble, by their names; raises as `output`."""
        return {member.name: member.weight for member in self.output.weights}

    @cached_property
    def extracted_results(self) -> dict[str, list[Row]]:
        """Rows of ``portfolio_metrics``, ``signals`` and ``fills``, taken from the phase's own stream."""
        return extracted_results(TraceQuery(self._workspace.store).events(self.stream))

    def trials(self) -> "pd.DataFrame":
        """Return one row per container: its window, parameters and metrics."""
        frame = self._frame("trials JOIN portfolio_metrics USING (run, phase, container)")
        parameters = [msgspec.json.decode(text, type=dict[str, Scalar]) for text in frame.pop("parameters")]
        for place, name in enumerate(sorted({name for row in parameters for name in row})):
            frame.insert(place + 1, name, [row.get(name) for row in parameters])
        return frame

    def signals(self) -> "pd.DataFrame":
        """Return one row per change of a strategy's target exposure."""
        return self._frame("signals")

    def orders(self) -> "pd.DataFrame":
        """Return one row per order, with what became of it."""
        return self._frame("orders")

    def fills(self) -> "pd.DataFrame":
        """Return one row per fill, with the position and the cash after it."""
        return self._frame("fills")

    def trades(self) -> "pd.DataFrame":
        """Return one row per round trip."""
        return self._frame("trades")

    def equity(self, container: int | None = None) -> "pd.DataFrame":
        """Return one row per bar: cash, position, equity and drawdown of a container, by default the best.

        Raises
        ------
        NotFoundError
            The phase chose no container, and none was given.
        """
        best = self.output.best
        chosen = container if container is not None else best.container if best else None
        if chosen is None:
            raise NotFoundError(f"phase {self.name!r} chose no container; give the id of one.")
        return self._frame("equity", "AND container = ? ORDER BY bar", chosen)

    def monthly_returns(self, container: int | None = None) -> "pd.DataFrame":
        """Return the returns of a container, by default the best: a row per year, a column per month.

        Months are numbered from 1. Returns are fractions, from one month's last equity to the next one's, the
        first from the capital; NaN where there are no bars. Raises as `equity`.
        """
        import pandas as pd

        from ..domain.equity_curve import MonthlyReturn, monthly_returns

        found = monthly_returns(*self._curve(container))
        rows = pd.DataFrame(found, columns=pd.Index(MonthlyReturn._fields))
        return rows.pivot(index="year", columns="month", values="value").reindex(columns=range(1, 13))

    def yearly_returns(self, container: int | None = None) -> "pd.Series[float]":
        """Return the returns of a container by year, as `monthly_returns` does."""
        import pandas as pd

        from ..domain.equity_curve import yearly_returns

        years, values = zip(*yearly_returns(*self._curve(container)), strict=True)
        return pd.Series(values, index=pd.Index(years, name="year"), name="return")

    def _curve(self, container: int | None) -> tuple[Int64, Float64, float]:
        """Return times in nanoseconds, equity, and the capital before the first bar."""
        frame = self.equity(container)
        time = frame["time"].to_numpy().astype("datetime64[ns]").astype(np.int64)
        return time, frame["equity"].to_numpy(np.float64), self._started.capital if self._started else 0.0

    def _frame(self, source: str, condition: str = "", *parameters: object) -> "pd.DataFrame":
        sql = f"SELECT * EXCLUDE (run, phase) FROM {source} WHERE run = ? AND phase = ? "
        order = condition or "ORDER BY ALL"
        return self._workspace.read_models.frame(sql + order, (self.executed_by, self.turn, *parameters))


class WorkflowResult:
    """What came of a run.

    It can also be read like the nested mapping ``result["results"]["phase_results"][phase]``.

    Parameters
    ----------
    workspace
        Where the run is kept; it must stay open as long as the result is asked.
    run
        The run's id.
    check
        What was known before the run, if it has just been run: its warnings, and the periods of its phases.
    aggregation
        What ``aggregated`` makes of the phases.

    Raises
    ------
    NotFoundError
        There is no such run.
    """

    def __init__(
        self,
        workspace: Workspace,
        run: str,
        check: "WorkflowCheck | None" = None,
        aggregation: Callable[..., object] | None = None,
    ) -> None:
        self._workspace = workspace
        history = run_history(workspace.store, run)
        self.run = run
        self.name = history.started.name
        self.status = history.status
        self.warnings = check.warnings if check else ()
        self._aggregation = aggregation
        # Where a phase refers to an output, other bars may have been traded than were checked.
        known = {each.section.name: each for each in check.phases if each.trials is not None} if check else {}
        phases = [PhaseResult(workspace, history, name, known.get(name)) for name in history.started.phases]
        self.phases = {phase.name: phase for phase in phases if phase.type or phase.status in ENDED_OTHERWISE}

    def __getitem__(self, key: str) -> object:
        views: dict[str, object] = {
            "run": self.run,
            "status": self.status,
            "metrics": self.metrics,
            "results": {"phase_results": self.phases},
        }
        return views[key]

    @property
    def failed(self) -> list[str]:
        """Names of the phases that failed."""
        return [phase.name for phase in self.phases.values() if phase.status == "failed"]

    @cached_property
    def aggregated(self) -> object:
        """What the template's ``aggregation_strategy`` makes of the phases, by name.

        None where there is no such function, as after a resume, a fork, or for an earlier run: it is no part
        of the log.
        """
        return self._aggregation(self.phases) if self._aggregation else None

    @property
    def metrics(self) -> dict[str, float]:
        """Headline metrics of the last phase that ended well."""
        completed = [phase for phase in self.phases.values() if phase.ended_well]
        return completed[-1].output.metrics if completed else {}

    def phase(self, name: str) -> PhaseResult:
        """Return the result of a phase.

        Raises
        ------
        NotFoundError
            The run has no such phase.
        """
        if name not in self.phases:
            raise NotFoundError(
                f"the run {self.run} has no phase {name!r}; its phases are {', '.join(self.phases)}."
            )
        return self.phases[name]

    def summary(self) -> str:
        """Return a text with the headline metrics and the head hash of each phase."""
        lines = [f"{self.name}  {self.run}  {self.status}"]
        for phase in self.phases.values():
            lines.append(f"\n{phase.name} ({phase.type}, {phase.status}, {phase.rows:,} rows)")
            if phase.reason:
                lines.append(f"  {phase.reason}")
            if not phase.ended_well:
                continue
            output = phase.output
            for member in output.weights:
                weights = {"weight": member.weight} | member.regimes
                told = ", ".join(f"{name} {value:.2%}" for name, value in weights.items())
                lines.append(f"  {member.name:<14} {told}")
            if output.best and output.best.parameters and not output.weights:
                chosen = ", ".join(f"{name}={value}" for name, value in output.best.parameters.items())
                lines.append(f"  best of {output.trials:,} trials: {chosen}")
            if output.verdict:
                lines.append(f"  {output.verdict}")
            if output.front:
                lines.append(f"  {len(output.front):,} trials that none beats by all objectives")
            known = (name for name in HEADLINE if name in output.metrics)
            lines += [f"  {name:<14} {shown(name, output.metrics[name]):>10}" for name in known]
            lines.append(f"  head hash      {phase.head_hash}")
        return "\n".join(lines)


def shown(metric: str, value: float) -> str:
    """Write a metric for people: fractions as percentages, "-" for one that is not defined."""
    if value != value:
        return "-"
    if metric in FRACTIONS:
        return f"{value:.2%}"
    return f"{value:,.0f}" if metric == "trades" else f"{value:,.3f}"


def figure_tables(figures: Mapping[str, float]) -> list[tuple[list[str], list[list[str]]]]:
    """Set figures out for people, as tables of heads and rows.

    Figures whose names share a beginning, as ``calm.trades``, share a row, and rows with the same figures
    share a table.
    """
    rows: dict[str, dict[str, str]] = {}
    for name, value in figures.items():
        row, _, column = name.rpartition(".")
        rows.setdefault(row, {})[column] = "-" if value != value else f"{value:,.4g}"
    plain = [[name, value] for name, value in rows.pop("", {}).items()]
    tables = [(["figure", "value"], plain)] if plain else []
    for columns in dict.fromkeys(tuple(row) for row in rows.values()):
        cells = [[name, *row.values()] for name, row in rows.items() if tuple(row) == columns]
        tables.append((["", *columns], cells))
    return tables
