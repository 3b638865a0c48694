import pytest
from admf.domain.errors import QueryError
from admf.projections.read_models import ReadModels


@pytest.fixture
def models(small_run):
    with ReadModels(None, small_run) as opened:
        yield opened


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO data.runs SELECT * FROM runs",
        "DELETE FROM data.runs",
        "CREATE TABLE mine AS SELECT 1",
        "COPY runs TO 'runs.csv'",
        "ATTACH 'other.duckdb'",
        "SET threads = 1",
        "PRAGMA database_list",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_what_does_not_just_read_is_refused(models, statement):
    with pytest.raises(QueryError, match="one statement that only reads"):
        models.query(statement)


def test_a_change_hidden_in_an_explain_is_refused(models):
    with pytest.raises(QueryError, match="read-only"):
        models.query("EXPLAIN ANALYZE DELETE FROM data.runs")
    assert models.query("SELECT count(*) FROM runs").rows == ((1,),)


def test_files_are_out_of_reach(models, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    for source in (f"read_csv('{secret}')", f"read_text('{secret}')", f"glob('{tmp_path}/*')", f"'{secret}'"):
        with pytest.raises(QueryError, match="disabled by configuration"):
            models.query(f"SELECT * FROM {source}")


def test_variables_of_the_program_are_out_of_reach(models):
    local_table = {"a": [1]}
    assert local_table
    with pytest.raises(QueryError, match="local_table"):
        models.query("SELECT * FROM local_table")


def test_an_unknown_table_is_answered_with_the_tables_there_are(models):
    with pytest.raises(
        QueryError, match=r"(?s)nope does not exist.*The tables are bars, equity, .*, weights\."
    ):
        models.query("SELECT * FROM nope")


def test_an_unknown_column_is_answered_with_the_columns_there_are(models):
    with pytest.raises(QueryError, match=r"(?s)\"profit\" not found.*trades has the columns run, .*pnl, "):
        models.query("SELECT profit FROM trades")


def test_a_query_that_failed_does_not_spoil_the_next(models):
    with pytest.raises(QueryError, match="syntax error"):
        models.query("SELEC 1")
    with pytest.raises(QueryError, match="Could not convert"):
        models.query("SELECT 'x'::INTEGER")
    assert models.query("SELECT 1").rows == ((1,),)


def test_values_are_passed_beside_the_statement(models):
    answer = models.query("SELECT n FROM fills WHERE container = ? ORDER BY n", (2,))
    assert answer.rows == ((27,), (28,), (29,))


COLUMNS = """
SELECT 1::INTEGER AS number, 1.5 ::DOUBLE AS price, 'x' AS text, TIMESTAMP '2024-05-06' AS time, true AS flag,
    '{}'::JSON AS json
"""
NULLS = """
SELECT NULL::INTEGER AS number, NULL::DOUBLE AS price, NULL::VARCHAR AS text, NULL::TIMESTAMP AS time,
    NULL::BOOLEAN AS flag, NULL::JSON AS json
"""


def kinds(frame):
    return [str(dtype).lower() for dtype in frame.dtypes]


def test_a_frame_has_the_types_of_the_answer_with_values_without_and_without_rows(models):
    types = [*("int32", "float64", "str", "datetime64[us]"), "bool", "str"]
    assert kinds(models.frame(COLUMNS)) == types
    assert kinds(models.frame(f"FROM ({COLUMNS}) WHERE false")) == types
    types[4] = "boolean"
    assert kinds(models.frame(NULLS)) == kinds(models.frame(f"{COLUMNS} UNION ALL {NULLS}")) == types


def test_a_frame_holds_the_rows_of_the_answer(models):
    sql = "SELECT container, entry_time, exit_n, symbol, pnl FROM trades ORDER BY container, number"
    frame = models.frame(sql)
    assert frame["pnl"].tolist() == [28.0, 14.5, 28.0, 14.5]
    assert frame["exit_n"].isna().tolist() == [False, True, False, True]
    assert next(frame.itertuples(index=False, name=None)) == models.query(sql).rows[0]


def test_columns_of_one_name_are_all_in_the_frame(models):
    frame = models.frame("SELECT 1 AS a, 'x' AS b, NULL::VARCHAR AS b")
    assert frame.shape == (1, 3)
    assert kinds(frame) == ["int32", "str", "str"]


def test_a_frame_is_refused_what_a_query_is_refused(models):
    with pytest.raises(QueryError, match="one statement that only reads"):
        models.frame("DELETE FROM data.runs")
    with pytest.raises(QueryError, match="The tables are"):
        models.frame("FROM nope")


def test_records_hold_what_json_can_carry(models):
    (record,) = models.query(
        "SELECT TIMESTAMP '2024-05-06 07:08:09' AS at, DATE '2024-05-06' AS day, 'nan'::DOUBLE AS nan, "
        "'\\x01'::BLOB AS bytes, 1.5::DECIMAL(9, 2) AS exact, [1, NULL] AS many, {'a': true} AS one, "
        "NULL AS none"
    ).records()
    assert record == {
        "at": "2024-05-06T07:08:09Z",
        "day": "2024-05-06",
        "nan": None,
        "bytes": "01",
        "exact": "1.50",
        "many": [1, None],
        "one": {"a": True},
        "none": None,
    }
