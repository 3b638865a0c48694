"""What each event changes in the read models."""

from collections.abc import Iterable, Iterator
from functools import singledispatch

import msgspec
import numpy as np

from ..domain.columns import columns_of
from ..domain.events import (
    BarsLoaded,
    Column,
    InterestCharged,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    PatternsDiscovered,
    PhaseCompleted,
    PhaseFailed,
    PhaseOutputEvent,
    PhaseRepeated,
    PhaseReused,
    PhaseSkipped,
    PhaseStarted,
    RegimesClassified,
    SignalsEmitted,
    TrialsCompleted,
    WeightsFitted,
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowResumed,
    WorkflowStarted,
)
from ..eventstore.record import Recorded
from .fold import Charges, Fold, Phase
from .recorder import DuckDBRecorder, record_batch
from .schema import quoted
from .timeline import write_timeline

RESUME = "UPDATE data.{table} SET status = 'running', error = NULL, finished_at = NULL WHERE run = ?"
AGAIN = (
    " AND status IN ('failed', 'skipped') AND run IN "
    "(SELECT run FROM data.runs WHERE status IN ('failed', 'completed'))"
)
END_RUN = "UPDATE data.runs SET status = ?, error = ?, finished_at = make_timestamp(?) WHERE run = ?"
END_PHASE = (
    "UPDATE data.phases SET status = ?, error = ?, finished_at = make_timestamp(?) WHERE phase_key = ?"
)

GROUP = 4_000_000
"""Logical rows that are applied in one transaction."""
METRICS = "SELECT phase_key, container, {known} FROM columns"
"""A metric that is not defined is NULL, which aggregates pass over."""
BARS = """
SELECT * REPLACE (make_timestamp(time) AS time, nullif(volume, 'NaN') AS volume) FROM columns
"""

RowByRow = (
    RegimesClassified
    | PatternsDiscovered
    | WeightsFitted
    | SignalsEmitted
    | OrdersPlaced
    | OrdersDenied
    | OrdersCanceled
    | InterestCharged
)
ROW_BY_ROW: dict[type[RowByRow], str] = {
    RegimesClassified: "data.regimes",
    PatternsDiscovered: "data.patterns",
    WeightsFitted: "data.weights",
    SignalsEmitted: "data.signals",
    OrdersPlaced: "data.orders",
    OrdersDenied: "data.denials",
    OrdersCanceled: "data.cancellations",
    InterestCharged: "data.interest",
}
"""Tables whose rows are those of an event, column by column."""
RENAMED = {"order": "order_number", "limit": "limit_price", "stop": "stop_price"}
"""Columns that need other names: ORDER and LIMIT are words of SQL."""


class _Slippage(msgspec.Struct, frozen=True):
    bps: float = 0.0


class _Execution(msgspec.Struct, frozen=True):
    fill: str = "next_open"
    slippage: _Slippage = _Slippage()


class _Stated(msgspec.Struct, frozen=True):
    """What read models need of a phase's configuration."""

    log: str = "full"
    execution: _Execution = _Execution()


def grouped(events: Iterable[Recorded]) -> Iterator[list[Recorded]]:
    """Cut events into groups, each of which is to be applied in one transaction."""
    group: list[Recorded] = []
    rows = 0
    for recorded in events:
        group.append(recorded)
        rows += recorded.rows
        if rows >= GROUP:
            yield group
            group, rows = [], 0
    if group:
        yield group


@singledispatch
def apply(event: object, recorded: Recorded, fold: Fold) -> None:
    """Write the rows that an event adds or changes, inside the caller's transaction.

    Events of a type without a function here change nothing.

    Raises
    ------
    CorruptionError
        The event belongs to a phase that never started.
    """


@apply.register
def _(event: WorkflowStarted, recorded: Recorded, fold: Fold) -> None:
    fold.recorder.execute(
        "INSERT INTO data.runs VALUES (?, ?, 'running', make_timestamp(?), NULL, ?, ?, ?, ?, ?, NULL)",
        (
            recorded.stream,
            event.name,
            _microseconds(recorded),
            event.seed,
            len(event.phases),
            event.configuration,
            event.package_version,
            event.forked_from or None,
        ),
    )


@apply.register
def _(_event: WorkflowResumed, recorded: Recorded, fold: Fold) -> None:
    # Of a run that had not come to an end of its own, what failed stays as it is.
    fold.recorder.execute(RESUME.format(table="phases") + AGAIN, (recorded.stream,))
    fold.recorder.execute(RESUME.format(table="runs"), (recorded.stream,))


@apply.register
def _(_event: WorkflowCompleted, recorded: Recorded, fold: Fold) -> None:
    fold.recorder.execute(END_RUN, ("completed", None, _microseconds(recorded), recorded.stream))


@apply.register
def _(event: WorkflowFailed, recorded: Recorded, fold: Fold) -> None:
    error = f"phase {event.phase}: {event.message}"
    fold.recorder.execute(END_RUN, ("failed", error, _microseconds(recorded), recorded.stream))


@apply.register
def _(event: WorkflowCanceled, recorded: Recorded, fold: Fold) -> None:
    fold.recorder.execute(END_RUN, ("canceled", event.reason, _microseconds(recorded), recorded.stream))


@apply.register
def _(event: PhaseStarted, recorded: Recorded, fold: Fold) -> None:
    key = _phase_key(fold.recorder, recorded.stream)
    stated = msgspec.json.decode(event.configuration, type=_Stated)
    fill, slippage = stated.execution.fill, stated.execution.slippage.bps / 10_000.0
    fold.recorder.execute(
        "UPDATE data.phases SET type = ?, status = 'running', started_at = make_timestamp(?), capital = ?, "
        "log = ?, fill = ?, slippage = ? WHERE phase_key = ?",
        (event.type, _microseconds(recorded), event.capital, stated.log, fill, slippage, key),
    )
    fold.start(Phase(recorded.stream, key, event.capital, fill, slippage, fills=[], charges=[]))
    for number, feed in enumerate(event.feeds):
        fold.recorder.execute(
            "INSERT INTO data.feeds VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                number,
                feed.symbol,
                feed.timeframe,
                _stream_key(fold.recorder, feed.stream),
                feed.rows,
                len(event.feeds) == 1,
            ),
        )
    if len(event.feeds) > 1:
        write_timeline(fold.recorder, key)
    for number, name in enumerate(event.strategies):
        fold.recorder.execute("INSERT INTO data.strategies VALUES (?, ?, ?)", (key, number, name))


@apply.register
def _(event: PhaseOutputEvent, recorded: Recorded, fold: Fold) -> None:
    output = msgspec.json.encode(event.output).decode()
    fold.recorder.execute("UPDATE data.phases SET output = ? WHERE stream = ?", (output, recorded.stream))
    for number, regime in enumerate(event.output.regimes):
        key = _phase_key(fold.recorder, recorded.stream)
        fold.recorder.execute("INSERT INTO data.regime_names VALUES (?, ?, ?)", (key, number, regime.name))
    for member in event.output.weights:
        parameters = msgspec.json.encode(member.parameters, order="sorted").decode()
        origin = (member.container, member.name, member.phase, member.source, parameters)
        values = (_phase_key(fold.recorder, recorded.stream), *origin)
        fold.recorder.execute("INSERT INTO data.members VALUES (?, ?, ?, ?, ?, ?)", values)


@apply.register(PhaseCompleted)
@apply.register(PhaseRepeated)
def _(event: PhaseCompleted | PhaseRepeated, recorded: Recorded, fold: Fold) -> None:
    if not event.stream.startswith(f"{recorded.stream}/"):
        # It was noted for later runs, and is told by the run that completed it.
        return
    key = _phase_key(fold.recorder, event.stream)
    fold.recorder.execute(END_PHASE, ("completed", None, _microseconds(recorded), key))
    fold.recorder.execute(
        "UPDATE data.phases SET events = ?, rows = ?, head_hash = ? WHERE phase_key = ?",
        (event.events, event.rows, event.head_hash, key),
    )


@apply.register
def _(event: PhaseReused, recorded: Recorded, fold: Fold) -> None:
    values = (recorded.stream, event.phase, event.stream, "cached" if event.cached else "reused")
    fold.recorder.execute("INSERT INTO data.reused_phases VALUES (?, ?, ?, ?)", values)


@apply.register
def _(event: PhaseFailed, recorded: Recorded, fold: Fold) -> None:
    key = _phase_key(fold.recorder, f"{recorded.stream}/{event.phase}")
    error = f"{event.error}: {event.message}"
    fold.recorder.execute(END_PHASE, ("failed", error, _microseconds(recorded), key))


@apply.register
def _(event: PhaseSkipped, recorded: Recorded, fold: Fold) -> None:
    key = _phase_key(fold.recorder, f"{recorded.stream}/{event.phase}")
    fold.recorder.execute(END_PHASE, ("skipped", event.reason, _microseconds(recorded), key))


@apply.register
def _(event: BarsLoaded, recorded: Recorded, fold: Fold) -> None:
    columns: dict[str, Column] = {
        "stream_key": np.full(recorded.rows, _stream_key(fold.recorder, recorded.stream), np.int32),
        "bar": np.arange(recorded.first - 1, recorded.first - 1 + recorded.rows),
        "time": event.time // 1000,
        "open": event.open,
        "high": event.high,
        "low": event.low,
        "close": event.close,
        "volume": event.volume,
    }
    fold.recorder.insert("data.bars", [record_batch(columns)], BARS)


@apply.register(RegimesClassified)
@apply.register(PatternsDiscovered)
@apply.register(WeightsFitted)
@apply.register(SignalsEmitted)
@apply.register(OrdersPlaced)
@apply.register(OrdersDenied)
@apply.register(OrdersCanceled)
def _(event: RowByRow, recorded: Recorded, fold: Fold) -> None:
    _gather_rows(event, recorded, fold)


@apply.register
def _(event: InterestCharged, recorded: Recorded, fold: Fold) -> None:
    phase = fold.phase(recorded)
    if phase.charges is not None:
        phase.charges.append(Charges(event.container, event.symbol, event.bar, event.amount))
    _gather_rows(event, recorded, fold)


@apply.register
def _(event: OrdersFilled, recorded: Recorded, fold: Fold) -> None:
    # The compiler behind it is slow to import: a query that finds no new fills does without.
    from .accounts import gather_fills

    phase = fold.phase(recorded)
    fills = gather_fills(fold, phase, event, recorded.first)
    if phase.fills is not None:
        phase.fills.append(fills)


@apply.register
def _(event: TrialsCompleted, recorded: Recorded, fold: Fold) -> None:
    from .accounts import gather_trades

    phase = fold.phase(recorded)
    place = _place(recorded, phase)
    gather_trades(fold, phase, event, fold.take_fills(phase))
    columns: dict[str, Column] = {
        "container": event.container,
        "fold": event.fold,
        "segment": event.segment,
        "first_bar": event.first_bar,
        "stop_bar": event.stop_bar,
    }
    parameters = {f"parameters.{name}": column for name, column in event.parameters.items()}
    fields = ", ".join(f"{quoted(name)} := {quoted(f'parameters.{name}')}" for name in event.parameters)
    source = f"SELECT {', '.join(place | columns)}, to_json(struct_pack({fields})) AS parameters FROM columns"
    fold.recorder.gather("data.trials", place | columns | parameters, source)
    fold.add_metrics(set(event.metrics))
    identity = {"phase_key": place["phase_key"], "container": event.container}
    known = ", ".join(f"nullif({quoted(name)}, 'NaN') AS {quoted(name)}" for name in event.metrics)
    fold.recorder.gather("data.portfolio_metrics", identity | event.metrics, METRICS.format(known=known))


def _gather_rows(event: RowByRow, recorded: Recorded, fold: Fold) -> None:
    columns = {RENAMED.get(name, name): column for name, column in columns_of(event).items()}
    place = _place(recorded, fold.phase(recorded))
    fold.recorder.gather(ROW_BY_ROW[type(event)], place | columns)


def _place(recorded: Recorded, phase: Phase) -> dict[str, Column]:
    """Tell the phase of each row of a numeric event, and its number in the phase's stream."""
    return {
        "phase_key": np.full(recorded.rows, phase.key, np.int32),
        "n": np.arange(recorded.first, recorded.first + recorded.rows),
    }


def _microseconds(recorded: Recorded) -> int:
    return recorded.recorded_at // 1000


def _phase_key(recorder: DuckDBRecorder, stream: str) -> int:
    key = recorder.integer("SELECT phase_key FROM data.phases WHERE stream = ?", (stream,))
    if key is None:
        key = _next(recorder, "data.phases")
        run, _, phase = stream.partition("/")
        columns = "(phase_key, run, phase, stream)"
        recorder.execute(f"INSERT INTO data.phases {columns} VALUES (?, ?, ?, ?)", (key, run, phase, stream))
    return key


def _stream_key(recorder: DuckDBRecorder, stream: str) -> int:
    key = recorder.integer("SELECT stream_key FROM data.streams WHERE stream = ?", (stream,))
    if key is None:
        key = _next(recorder, "data.streams")
        recorder.execute("INSERT INTO data.streams VALUES (?, ?)", (key, stream))
    return key


def _next(recorder: DuckDBRecorder, table: str) -> int:
    return 1 + (recorder.integer(f"SELECT count(*) FROM {table}") or 0)
