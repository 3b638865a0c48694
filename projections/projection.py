"""What each event changes in the read models."""

from functools import singledispatch

import msgspec
import numpy as np

from ..domain.errors import CorruptionError
from ..domain.events import (
    BarsLoaded,
    Column,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    PhaseCompleted,
    PhaseFailed,
    PhaseOutputEvent,
    PhaseReused,
    PhaseSkipped,
    PhaseStarted,
    SignalsEmitted,
    TrialsCompleted,
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowResumed,
    WorkflowStarted,
)
from ..eventstore.record import Recorded
from .recorder import DuckDBRecorder
from .schema import add_metrics, quoted

RESUME = "UPDATE data.{table} SET status = 'running', error = NULL, finished_at = NULL WHERE run = ?"
END_RUN = "UPDATE data.runs SET status = ?, error = ?, finished_at = make_timestamp(?) WHERE run = ?"
END_PHASE = (
    "UPDATE data.phases SET status = ?, error = ?, finished_at = make_timestamp(?) WHERE phase_key = ?"
)

RowByRow = SignalsEmitted | OrdersPlaced | OrdersDenied | OrdersCanceled
ROW_BY_ROW: dict[type[RowByRow], str] = {
    SignalsEmitted: "data.signals",
    OrdersPlaced: "data.orders",
    OrdersDenied: "data.denials",
    OrdersCanceled: "data.cancellations",
}
"""Tables whose rows are those of an event, column by column."""
RENAMED = {"order": "order_number"}
"""Fields that can't be column names: ORDER is a word of SQL."""


@singledispatch
def apply(event: object, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    """Write the rows that an event adds or changes, inside the caller's transaction.

    Events of a type without a function here change nothing.

    Raises
    ------
    CorruptionError
        The event belongs to a phase that never started.
    """


@apply.register
def _(event: WorkflowStarted, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    recorder.execute(
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
def _(_event: WorkflowResumed, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    recorder.execute(RESUME.format(table="runs"), (recorded.stream,))
    recorder.execute(RESUME.format(table="phases") + " AND status = 'failed'", (recorded.stream,))


@apply.register
def _(_event: WorkflowCompleted, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    recorder.execute(END_RUN, ("completed", None, _microseconds(recorded), recorded.stream))


@apply.register
def _(event: WorkflowFailed, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    error = f"phase {event.phase}: {event.message}"
    recorder.execute(END_RUN, ("failed", error, _microseconds(recorded), recorded.stream))


@apply.register
def _(event: WorkflowCanceled, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    recorder.execute(END_RUN, ("canceled", event.reason, _microseconds(recorded), recorded.stream))


@apply.register
def _(event: PhaseStarted, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    key = _phase_key(recorder, recorded.stream)
    recorder.execute(
        "UPDATE data.phases SET type = ?, status = 'running', started_at = make_timestamp(?), capital = ?, "
        "log = coalesce(json_extract_string(?, 'log'), 'full') WHERE phase_key = ?",
        (event.type, _microseconds(recorded), event.capital, event.configuration, key),
    )
    for number, feed in enumerate(event.feeds):
        recorder.execute(
            "INSERT INTO data.feeds VALUES (?, ?, ?, ?, ?, ?)",
            (key, number, feed.symbol, feed.timeframe, _stream_key(recorder, feed.stream), feed.rows),
        )
    for number, name in enumerate(event.strategies):
        recorder.execute("INSERT INTO data.strategies VALUES (?, ?, ?)", (key, number, name))


@apply.register
def _(event: PhaseOutputEvent, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    output = msgspec.json.encode(event.output).decode()
    recorder.execute("UPDATE data.phases SET output = ? WHERE stream = ?", (output, recorded.stream))


@apply.register
def _(event: PhaseCompleted, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    key = _phase_key(recorder, event.stream)
    recorder.execute(END_PHASE, ("completed", None, _microseconds(recorded), key))
    recorder.execute(
        "UPDATE data.phases SET events = ?, rows = ?, head_hash = ? WHERE phase_key = ?",
        (event.events, event.rows, event.head_hash, key),
    )


@apply.register
def _(event: PhaseReused, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    values = (recorded.stream, event.phase, event.stream)
    recorder.execute("INSERT INTO data.reused_phases VALUES (?, ?, ?)", values)


@apply.register
def _(event: PhaseFailed, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    key = _phase_key(recorder, f"{recorded.stream}/{event.phase}")
    error = f"{event.error}: {event.message}"
    recorder.execute(END_PHASE, ("failed", error, _microseconds(recorded), key))


@apply.register
def _(event: PhaseSkipped, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    key = _phase_key(recorder, f"{recorded.stream}/{event.phase}")
    recorder.execute(END_PHASE, ("skipped", event.reason, _microseconds(recorded), key))


@apply.register
def _(event: BarsLoaded, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    columns: dict[str, Column] = {
        "stream_key": np.full(recorded.rows, _stream_key(recorder, recorded.stream), np.int32),
        "bar": np.arange(recorded.first - 1, recorded.first - 1 + recorded.rows),
        "time": event.time // 1000,
        "open": event.open,
        "high": event.high,
        "low": event.low,
        "close": event.close,
        "volume": event.volume,
    }
    recorder.insert("data.bars", columns, "SELECT * REPLACE (make_timestamp(time) AS time) FROM columns")


@apply.register(SignalsEmitted)
@apply.register(OrdersPlaced)
@apply.register(OrdersDenied)
@apply.register(OrdersCanceled)
def _(event: RowByRow, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    columns = {RENAMED.get(name, name): getattr(event, name) for name in event.__struct_fields__}
    recorder.insert(ROW_BY_ROW[type(event)], _columns(recorded, recorder, **columns))


@apply.register
def _(event: OrdersFilled, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    # The compiler behind it is slow to import: a query that finds no new fills does without.
    from .accounts import fill_columns

    key, capital = _started(recorder, recorded)
    recorder.insert("data.fills", fill_columns(event, key, recorded.first, capital))


@apply.register
def _(event: TrialsCompleted, recorded: Recorded, recorder: DuckDBRecorder) -> None:
    from .accounts import insert_trades

    key, _ = _started(recorder, recorded)
    columns = _columns(
        recorded,
        recorder,
        container=event.container,
        fold=event.fold,
        segment=event.segment,
        first_bar=event.first_bar,
        stop_bar=event.stop_bar,
    )
    parameters = {f"parameters.{name}": column for name, column in event.parameters.items()}
    fields = ", ".join(f"{quoted(name)} := {quoted(f'parameters.{name}')}" for name in event.parameters)
    lowest, highest = int(event.container.min()), int(event.container.max())
    source = f"""
        SELECT c.phase_key, c.n, c.container, coalesce(traded.symbol, 0) AS symbol, c.fold, c.segment,
            c.first_bar, c.stop_bar, to_json(struct_pack({fields})) AS parameters
        FROM columns c LEFT JOIN (
            SELECT container, any_value(symbol) AS symbol FROM data.fills
            WHERE phase_key = {key} AND container BETWEEN {lowest} AND {highest} GROUP BY container
        ) traded ON traded.container = c.container
        ORDER BY c.n
    """
    recorder.insert("data.trials", columns | parameters, source)
    add_metrics(recorder, set(event.metrics))
    identity = {"phase_key": columns["phase_key"], "container": event.container}
    recorder.insert("data.portfolio_metrics", identity | event.metrics)
    insert_trades(recorder, key, recorded.first, event.container)


def _columns(recorded: Recorded, recorder: DuckDBRecorder, **columns: Column) -> dict[str, Column]:
    """Columns of a numeric event, with the phase and the number in its stream of each row."""
    key, _ = _started(recorder, recorded)
    return {
        "phase_key": np.full(recorded.rows, key, np.int32),
        "n": np.arange(recorded.first, recorded.first + recorded.rows),
        **columns,
    }


def _microseconds(recorded: Recorded) -> int:
    return recorded.recorded_at // 1000


def _started(recorder: DuckDBRecorder, recorded: Recorded) -> tuple[int, float]:
    """Key and capital of the phase that an event belongs to."""
    row = recorder.one("SELECT phase_key, capital FROM data.phases WHERE stream = ?", (recorded.stream,))
    match row:
        case (int(key), float(capital)):
            return key, capital
    raise CorruptionError(
        f"{recorded.address}: {recorded.topic} must come after the PhaseStarted of its stream, found none. "
        "Check the log with `admf verify`."
    )


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
