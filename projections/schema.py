"""The tables of the read models: compact ones that hold the rows, and the views by which users see them.

Tables are in the schema `data` and refer to a phase by a small integer: DuckDB skips the row groups of other
phases by comparing it with their minimum and maximum, which it can't do with the long common prefixes of run
ids. For the same reason they have no indexes: rows lie in the order of the log, phase by phase.
"""

from enum import IntEnum

import duckdb

from ..domain.codes import CancelReason, DenialRule, OrderType, Segment
from .recorder import DuckDBRecorder

VERSION = 11
"""To be raised with every change to the tables, the views, or the meaning of a column."""

RUNS = "USING COMPRESSION RLE"
"""For columns that keep a value over many rows; DuckDB finds that out too, and takes an eighth longer."""

TABLES = f"""
CREATE TABLE data.version (version INTEGER);
CREATE TABLE data.head (position BIGINT, record_hash BLOB);
CREATE TABLE data.runs (
    run TEXT, name TEXT, status TEXT, started_at TIMESTAMP, finished_at TIMESTAMP, seed BIGINT,
    phases INTEGER, configuration JSON, package_version TEXT, forked_from TEXT, error TEXT
);
CREATE TABLE data.phases (
    phase_key INTEGER, run TEXT, phase TEXT, type TEXT, status TEXT, stream TEXT, started_at TIMESTAMP,
    finished_at TIMESTAMP, events BIGINT, rows BIGINT, head_hash TEXT, capital DOUBLE, log TEXT, error TEXT,
    output JSON, fill TEXT, slippage DOUBLE
);
CREATE TABLE data.reused_phases (run TEXT, phase TEXT, stream TEXT, status TEXT);
CREATE TABLE data.strategies (phase_key INTEGER, strategy SMALLINT, name TEXT);
CREATE TABLE data.feeds (
    phase_key INTEGER, symbol SMALLINT, name TEXT, timeframe TEXT, stream_key INTEGER, rows BIGINT,
    is_only BOOLEAN
);
CREATE TABLE data.timeline (
    phase_key INTEGER, symbol SMALLINT, bar INTEGER, time TIMESTAMP, own_bar INTEGER, close DOUBLE
);
CREATE TABLE data.streams (stream_key INTEGER, stream TEXT);
CREATE TABLE data.bars (
    stream_key INTEGER, bar INTEGER, time TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE,
    volume DOUBLE
);
CREATE TABLE data.regime_names (phase_key INTEGER, regime TINYINT, name TEXT);
CREATE TABLE data.regimes (phase_key INTEGER, n BIGINT, symbol SMALLINT, bar INTEGER, regime TINYINT);
CREATE TABLE data.patterns (
    phase_key INTEGER, n BIGINT, pattern INTEGER, low DOUBLE, high DOUBLE, support BIGINT, winners BIGINT,
    lift DOUBLE, p_value DOUBLE, parameter TEXT, word TEXT
);
CREATE TABLE data.members (
    phase_key INTEGER, container INTEGER, member TEXT, source_phase TEXT, source_container INTEGER,
    parameters JSON
);
CREATE TABLE data.weights (
    phase_key INTEGER, n BIGINT, regime TINYINT, container INTEGER, weight DOUBLE
);
CREATE TABLE data.signals (
    phase_key INTEGER {RUNS}, n BIGINT, container INTEGER {RUNS}, strategy SMALLINT {RUNS},
    symbol SMALLINT {RUNS}, bar INTEGER, target DOUBLE, limit_price DOUBLE, stop_price DOUBLE,
    stop_loss DOUBLE, take_profit DOUBLE
);
CREATE TABLE data.orders (
    phase_key INTEGER {RUNS}, n BIGINT, container INTEGER {RUNS}, order_number INTEGER,
    symbol SMALLINT {RUNS}, bar INTEGER, type TINYINT {RUNS}, target DOUBLE, limit_price DOUBLE,
    stop_price DOUBLE
);
CREATE TABLE data.denials (
    phase_key INTEGER, n BIGINT, container INTEGER, order_number INTEGER, symbol SMALLINT, bar INTEGER,
    rule TINYINT, required DOUBLE, available DOUBLE
);
CREATE TABLE data.cancellations (
    phase_key INTEGER, n BIGINT, container INTEGER, order_number INTEGER, symbol SMALLINT, bar INTEGER,
    reason TINYINT
);
CREATE TABLE data.interest (
    phase_key INTEGER, n BIGINT, container INTEGER, symbol SMALLINT, bar INTEGER, amount DOUBLE
);
CREATE TABLE data.fills (
    phase_key INTEGER {RUNS}, n BIGINT, container INTEGER {RUNS}, order_number INTEGER,
    symbol SMALLINT {RUNS}, bar INTEGER, quantity DOUBLE, price DOUBLE, fee DOUBLE, position DOUBLE,
    cash DOUBLE, is_last BOOLEAN
);
CREATE TABLE data.trials (
    phase_key INTEGER, n BIGINT, container INTEGER, fold SMALLINT, segment TINYINT, first_bar INTEGER,
    stop_bar INTEGER, parameters JSON
);
CREATE TABLE data.balances (phase_key INTEGER, container INTEGER, bar INTEGER, cash DOUBLE);
CREATE TABLE data.trades (
    phase_key INTEGER {RUNS}, container INTEGER {RUNS}, number INTEGER, symbol SMALLINT {RUNS},
    side TINYINT {RUNS}, quantity DOUBLE, entry_bar INTEGER, entry_price DOUBLE, exit_bar INTEGER,
    exit_price DOUBLE, fee DOUBLE, pnl DOUBLE, mae DOUBLE, mfe DOUBLE, bars INTEGER, entry_n BIGINT,
    exit_n BIGINT
);
CREATE TABLE data.portfolio_metrics (phase_key INTEGER, container INTEGER);
"""

AT_BAR = """
JOIN data.phases p ON p.phase_key = x.phase_key
JOIN data.feeds f ON f.phase_key = x.phase_key AND f.symbol = x.symbol
JOIN data.bars b ON b.stream_key = f.stream_key AND b.bar = x.bar
"""


def quoted(name: str) -> str:
    """Write a name so that SQL takes it as an identifier, whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


def _price(column: str) -> str:
    """Show a price that there is none of as NULL."""
    return f"CASE WHEN NOT isnan(x.{column}) THEN x.{column} END AS {column}"


def _name(column: str, names: type[IntEnum]) -> str:
    cases = " ".join(f"WHEN {member.value} THEN '{member.name.lower()}'" for member in names)
    return f"CASE {column} {cases} END"


VIEWS = f"""
CREATE VIEW runs AS FROM data.runs;
CREATE VIEW phases AS
SELECT * EXCLUDE (phase_key, fill, slippage) FROM data.phases
UNION ALL
SELECT r.run, r.phase, p.* EXCLUDE (phase_key, run, phase, fill, slippage) REPLACE (r.status AS status)
FROM data.reused_phases r JOIN data.phases p ON p.stream = r.stream;
CREATE VIEW feeds AS
SELECT p.run, p.phase, f.name AS symbol, f.timeframe, s.stream, f.rows
FROM data.feeds f JOIN data.phases p USING (phase_key) JOIN data.streams s USING (stream_key);
CREATE VIEW bars AS
SELECT s.stream, b.bar::BIGINT + 1 AS n, b.* EXCLUDE stream_key
FROM data.bars b JOIN data.streams s USING (stream_key);
CREATE VIEW trials AS
SELECT p.run, p.phase, x.n, x.container, nullif(x.fold, -1) AS fold, {_name("x.segment", Segment)} AS segment,
    x.first_bar, x.stop_bar, coalesce(first.time, start.time) AS start_time,
    coalesce(last.time, stop.time) AS end_time, x.parameters
FROM data.trials x
JOIN data.phases p USING (phase_key)
JOIN data.feeds f ON f.phase_key = x.phase_key AND f.symbol = 0
LEFT JOIN data.bars start ON start.stream_key = f.stream_key AND start.bar = x.first_bar
LEFT JOIN data.bars stop ON stop.stream_key = f.stream_key AND stop.bar = x.stop_bar - 1
LEFT JOIN data.timeline first ON first.phase_key = x.phase_key AND first.symbol = 0
    AND first.bar = x.first_bar
LEFT JOIN data.timeline last ON last.phase_key = x.phase_key AND last.symbol = 0
    AND last.bar = x.stop_bar - 1;
CREATE VIEW regimes AS
SELECT p.run, p.phase, x.n, f.name AS symbol, x.bar, b.time, x.regime, r.name
FROM data.regimes x
{AT_BAR}
LEFT JOIN data.regime_names r ON r.phase_key = x.phase_key AND r.regime = x.regime;
CREATE VIEW patterns AS
SELECT p.run, p.phase, x.n, x.pattern, x.parameter, nullif(x.low, 'NaN') AS low,
    nullif(x.high, 'NaN') AS high, nullif(x.word, '') AS word, x.support, x.winners, x.lift, x.p_value
FROM data.patterns x JOIN data.phases p USING (phase_key);
CREATE VIEW weights AS
SELECT p.run, p.phase, x.n, nullif(x.regime, -1) AS regime, r.name, x.container, m.member, m.source_phase,
    m.source_container, m.parameters, x.weight
FROM data.weights x
JOIN data.phases p USING (phase_key)
LEFT JOIN data.members m ON m.phase_key = x.phase_key AND m.container = x.container
LEFT JOIN data.regime_names r ON r.phase_key = x.phase_key AND r.regime = x.regime;
CREATE VIEW signals AS
SELECT p.run, p.phase, x.n, x.container, s.name AS strategy, f.name AS symbol, x.bar, b.time, x.target,
    {_price("limit_price")}, {_price("stop_price")}, {_price("stop_loss")}, {_price("take_profit")}
FROM data.signals x
JOIN data.strategies s ON s.phase_key = x.phase_key AND s.strategy = x.strategy
{AT_BAR};
CREATE VIEW orders AS
SELECT p.run, p.phase, x.n, x.container, x.order_number, f.name AS symbol, x.bar, b.time,
    {_name("x.type", OrderType)} AS type, x.target, {_price("limit_price")}, {_price("stop_price")},
    CASE WHEN cancellation.n IS NOT NULL THEN 'canceled' WHEN denial.n IS NOT NULL THEN 'denied'
        WHEN fill.n IS NOT NULL THEN 'filled' ELSE 'open' END AS status,
    coalesce({_name("denial.rule", DenialRule)}, {_name("cancellation.reason", CancelReason)}) AS reason,
    denial.required, denial.available, coalesce(cancellation.n, denial.n, fill.n) AS outcome_n
FROM data.orders x
{AT_BAR}
LEFT JOIN data.fills fill ON fill.phase_key = x.phase_key AND fill.container = x.container
    AND fill.order_number = x.order_number AND fill.is_last
LEFT JOIN data.denials denial ON denial.phase_key = x.phase_key AND denial.container = x.container
    AND denial.order_number = x.order_number
LEFT JOIN data.cancellations cancellation ON cancellation.phase_key = x.phase_key
    AND cancellation.container = x.container AND cancellation.order_number = x.order_number;
CREATE VIEW fills AS
SELECT p.run, p.phase, x.n, x.container, x.order_number, f.name AS symbol, x.bar, b.time, x.quantity, x.price,
    x.fee, x.position, x.cash
FROM data.fills x
{AT_BAR};
CREATE VIEW interest AS
SELECT p.run, p.phase, x.n, x.container, CASE WHEN x.symbol >= 0 THEN f.name END AS symbol, x.bar,
    CASE WHEN x.symbol < 0 THEN coalesce(l.time, b.time) ELSE b.time END AS time, x.amount
FROM data.interest x
JOIN data.phases p ON p.phase_key = x.phase_key
JOIN data.feeds f ON f.phase_key = x.phase_key AND f.symbol = greatest(x.symbol, 0)
LEFT JOIN data.bars b ON b.stream_key = f.stream_key AND b.bar = x.bar
LEFT JOIN data.timeline l ON l.phase_key = x.phase_key AND l.symbol = 0 AND l.bar = x.bar;
CREATE VIEW trades AS
SELECT p.run, p.phase, x.container, x.number, f.name AS symbol,
    CASE x.side WHEN 1 THEN 'long' ELSE 'short' END AS side,
    CASE WHEN x.exit_n IS NULL THEN 'open' ELSE 'closed' END AS status, x.quantity, x.entry_bar,
    entry.time AS entry_time, x.entry_price, x.exit_bar, exit.time AS exit_time, x.exit_price, x.fee, x.pnl,
    x.pnl / (x.quantity * x.entry_price) AS return, x.mae, x.mfe, x.bars, x.entry_n,
    x.exit_n
FROM data.trades x
JOIN data.phases p USING (phase_key)
JOIN data.feeds f ON f.phase_key = x.phase_key AND f.symbol = x.symbol
JOIN data.bars entry ON entry.stream_key = f.stream_key AND entry.bar = x.entry_bar
LEFT JOIN data.bars exit ON exit.stream_key = f.stream_key AND exit.bar = x.exit_bar;
CREATE VIEW data.positions AS
WITH settled AS (
    SELECT phase_key, container, symbol, bar, arg_max(position, n) AS position FROM data.fills GROUP BY ALL
), lines AS (
    SELECT t.phase_key, t.container, f.symbol, f.is_only, b.bar, b.time, b.bar AS own_bar, b.close
    FROM data.trials t
    JOIN data.feeds f ON f.phase_key = t.phase_key AND f.is_only
    JOIN data.bars b ON b.stream_key = f.stream_key AND b.bar >= t.first_bar AND b.bar < t.stop_bar
    UNION ALL
    SELECT t.phase_key, t.container, l.symbol, false, l.bar, l.time, l.own_bar, l.close
    FROM data.trials t
    JOIN data.timeline l ON l.phase_key = t.phase_key AND l.bar >= t.first_bar AND l.bar < t.stop_bar
)
SELECT l.* EXCLUDE own_bar, coalesce(s.position, 0) AS position, coalesce(s.position * l.close, 0) AS value
FROM lines l
ASOF LEFT JOIN settled s ON s.phase_key = l.phase_key AND s.container = l.container AND s.symbol = l.symbol
    AND s.bar <= l.own_bar;
CREATE VIEW positions AS
SELECT p.run, p.phase, x.container, f.name AS symbol, x.bar, x.time, x.position, x.close, x.value
FROM data.positions x
JOIN data.phases p ON p.phase_key = x.phase_key AND p.log <> 'metrics'
JOIN data.feeds f ON f.phase_key = x.phase_key AND f.symbol = x.symbol;
CREATE VIEW equity AS
WITH settled AS (
    SELECT x.phase_key, x.container, x.bar, arg_max(x.cash, x.n) AS cash
    FROM data.fills x JOIN data.feeds f ON f.phase_key = x.phase_key AND f.is_only
    GROUP BY ALL
    UNION ALL
    SELECT phase_key, container, bar, cash FROM data.balances
), worth AS (
    SELECT phase_key, container, bar, time, position, close, value FROM data.positions WHERE is_only
    UNION ALL
    SELECT phase_key, container, bar, time, NULL, NULL, sum(value) FROM data.positions WHERE NOT is_only
    GROUP BY ALL
), valued AS (
    SELECT p.run, p.phase, p.capital, w.* EXCLUDE phase_key, coalesce(s.cash, p.capital) AS cash
    FROM worth w
    JOIN data.phases p ON p.phase_key = w.phase_key AND p.log <> 'metrics'
    ASOF LEFT JOIN settled s ON s.phase_key = w.phase_key AND s.container = w.container AND s.bar <= w.bar
)
SELECT run, phase, container, bar, time, cash, position, close, value, cash + value AS equity,
    1 - equity / greatest(capital, max(equity) OVER (PARTITION BY run, phase, container ORDER BY bar))
        AS drawdown
FROM valued;
"""

METRICS_VIEW = """
CREATE OR REPLACE VIEW portfolio_metrics AS
SELECT p.run, p.phase, x.* EXCLUDE phase_key
FROM data.portfolio_metrics x JOIN data.phases p USING (phase_key)
"""


def is_empty(recorder: DuckDBRecorder) -> bool:
    """Say whether a database is new."""
    try:
        recorder.execute("SELECT version FROM data.version")
    except duckdb.CatalogException:
        return True
    return False


def is_outdated(recorder: DuckDBRecorder) -> bool:
    """Say whether another version of this module made the tables."""
    return recorder.integer("SELECT version FROM data.version") != VERSION


def create(recorder: DuckDBRecorder) -> None:
    """Create the tables and views in a new database."""
    with recorder.transaction():
        for statements in (TABLES, VIEWS, METRICS_VIEW):
            recorder.execute(statements)
        recorder.execute("INSERT INTO data.version VALUES (?)", (VERSION,))


def add_metrics(recorder: DuckDBRecorder, names: set[str]) -> None:
    """Give `portfolio_metrics` a column for each of these metrics that it does not have yet."""
    found = recorder.connection.execute("SELECT * FROM data.portfolio_metrics LIMIT 0").description
    missing = sorted(names - {str(column[0]) for column in found or ()})
    for name in missing:
        recorder.execute(f"ALTER TABLE data.portfolio_metrics ADD COLUMN {quoted(name)} DOUBLE")
    if missing:
        recorder.execute(METRICS_VIEW)
