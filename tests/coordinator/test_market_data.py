import gzip
from pathlib import Path

import duckdb
import numpy as np
import pytest
from admf.coordinator.market.market_data import find_data_file, load_bars
from admf.domain.errors import ConfigurationError, DataError
from admf.domain.events import BarsLoaded

HEADER = "Date,Open,High,Low,Close,Volume"
ROWS = ("2024-01-02,10,11,9,10.5,100", "2024-01-03,10.5,12,10,11,200", "2024-01-04,11,11.5,9.5,10,300")


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_text("".join(line + end for line in lines), newline="")
    return path


def write_parquet(path: Path, query: str) -> Path:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_bars(path, "SPY", "1d")
    return str(caught.value)


def instants(*texts: str) -> list[int]:
    return [int(np.datetime64(text, "ns").astype(np.int64)) for text in texts]


def test_bars_are_read_from_csv(tmp_path):
    bars = load_bars(write(tmp_path / "spy.csv", HEADER, *ROWS), "SPY", "1d")
    assert (bars.symbol, bars.timeframe) == ("SPY", "1d")
    assert bars.time.tolist() == instants("2024-01-02", "2024-01-03", "2024-01-04")
    assert bars.open.tolist() == [10, 10.5, 11]
    assert bars.high.tolist() == [11, 12, 11.5]
    assert bars.low.tolist() == [9, 10, 9.5]
    assert bars.close.tolist() == [10.5, 11, 10]
    assert bars.volume.tolist() == [100, 200, 300]


@pytest.mark.parametrize(
    "lines",
    [
        ("TIMESTAMP,open,High,LOW,close,Adj Close,vol", "2024-01-02,10,11,9,10.5,?,7"),
        ("volume,close,low,high,open,time", "7,10.5,9,11,10,2024-01-02"),
        (",Open,High,Low,Close,Volume", "2024-01-02,10,11,9,10.5,7"),
        ("Datetime, Open, High, Low, Close, Volume", "2024-01-02, 10, 11, 9, 10.5, 7"),
        ('"Date","Open","High","Low","Close","Volume"', '"2024-01-02","10","11","9","10.5","7"'),
        ("\ufeffDate,Open,High,Low,Close,Volume", "2024-01-02,10,11,9,10.5,7"),
        (HEADER, "2024-01-02,1e1,11.,+9,10.5,7", "", ""),
        (HEADER + "\r", "2024-01-02,10,11,9,10.5,7"),
    ],
    ids=[
        "synonyms",
        "order",
        "unnamed index",
        "spaces",
        "quotes",
        "byte order mark",
        "blank lines at the end",
        "mixed line ends",
    ],
)
def test_bars_are_found_however_they_are_written(tmp_path, lines):
    bars = load_bars(write(tmp_path / "spy.csv", *lines), "SPY", "1d")
    assert bars.time.tolist() == instants("2024-01-02")
    values = [array.tolist() for array in (bars.open, bars.high, bars.low, bars.close, bars.volume)]
    assert values == [[10], [11], [9], [10.5], [7]]


def test_volume_is_zero_where_there_is_no_such_column(tmp_path):
    path = write(tmp_path / "spy.csv", "Date,Open,High,Low,Close", "2024-01-02,10,11,9,10.5")
    assert load_bars(path, "SPY", "1d").volume.tolist() == [0]


def test_windows_line_ends_and_gzip_and_glob_characters_change_nothing(tmp_path):
    plain = write(tmp_path / "spy[1]*.csv", HEADER, *ROWS, end="\r\n")
    packed = tmp_path / "SPY.CSV.GZ"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    expected = load_bars(write(tmp_path / "spy.csv", HEADER, *ROWS), "SPY", "1d")
    for path in (plain, packed):
        bars = load_bars(path, "SPY", "1d")
        for name in BarsLoaded.__struct_fields__:
            np.testing.assert_array_equal(getattr(bars, name), getattr(expected, name))


@pytest.mark.parametrize(
    ("cells", "times"),
    [
        (("2024-01-02", "2024-01-03"), ("2024-01-02", "2024-01-03")),
        (("2024-01-02", "2024-01-02 15:30"), ("2024-01-02", "2024-01-02T15:30")),
        (("2024-01-02T15:30:01", "2024-01-02T15:30:01.5"), ("2024-01-02T15:30:01", "2024-01-02T15:30:01.5")),
        (("2024-01-02T10:00Z", "2024-01-02 10:00:01+00:00"), ("2024-01-02T10:00", "2024-01-02T10:00:01")),
        (("2024-03-08T09:30-05:00", "2024-03-11T09:30-0400"), ("2024-03-08T14:30", "2024-03-11T13:30")),
        (("1/4/1999", "12/31/1999"), ("1999-01-04", "1999-12-31")),
        (("1/4/1999 9:30", "01/04/1999 16:00:00"), ("1999-01-04T09:30", "1999-01-04T16:00")),
        (("20240102", "20240103"), ("2024-01-02", "2024-01-03")),
        (("915408000", "1704153600"), ("1999-01-04", "2024-01-02")),
        (("915408000000", "1704153600001"), ("1999-01-04", "2024-01-02T00:00:00.001")),
        (("915408000000000", "1704153600000001"), ("1999-01-04", "2024-01-02T00:00:00.000001")),
        (("915408000000000000", "1704153600000000001"), ("1999-01-04", "2024-01-02T00:00:00.000000001")),
    ],
)
def test_dates_have_many_forms_and_become_utc(tmp_path, cells, times):
    rows = [f"{cell},10,11,9,10.5,100" for cell in cells]
    bars = load_bars(write(tmp_path / "spy.csv", HEADER, *rows), "SPY", "1d")
    assert bars.time.tolist() == instants(*times)


@pytest.mark.parametrize(
    ("first", "second", "form"),
    [
        ("2024-01-02", "1/3/2024", "ISO 8601"),
        ("2024-01-02 10:00", "2024-01-03 10:00Z", "ISO 8601"),
        ("2024-01-02 10:00Z", "2024-01-03 10:00", "ISO 8601 with a time zone"),
        ("2024-01-02", "2024-02-30", "ISO 8601"),
        ("2024-01-02", "20240103", "ISO 8601"),
        ("1/2/2024", "13/2/2024", "m/d/yyyy"),
        ("1/2/2024", "1/3/24", "m/d/yyyy"),
        ("1704153600", "1704240000000", "epoch seconds"),
        ("1704153600", "9999999999", "epoch seconds"),
        ("1704153600", "1704240000.5", "epoch seconds"),
        ("20240102", "20240230", "YYYYMMDD"),
    ],
)
def test_a_date_unlike_the_first_is_refused(tmp_path, first, second, form):
    rows = [f"{cell},10,11,9,10.5,100" for cell in (first, second)]
    path = write(tmp_path / "spy.csv", HEADER, *rows)
    assert refusal(path) == (
        f"{path}, row 3: Date must be a date in the form of the first bar, {form}, found {second!r}. "
        "Correct the cell or remove the row."
    )


@pytest.mark.parametrize(
    "cell", ["yesterday", "1/2/24", "2.1.2024", "1704153600.0", "12345", "99999999999", " "]
)
def test_a_date_in_no_known_form_is_refused(tmp_path, cell):
    path = write(tmp_path / "spy.csv", HEADER, f"{cell},10,11,9,10.5,100")
    message = refusal(path)
    assert message.startswith(f"{path}, row 2: Date must be a date in one of the forms ISO 8601, ")
    assert message.endswith(
        f"m/d/yyyy, YYYYMMDD, epoch seconds, epoch milliseconds, epoch microseconds, "
        f"epoch nanoseconds, found {cell!r}. Convert the column."
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2024-01-03,10.5,12,10,abc,200", "row 3: Close must be a number, found 'abc'"),
        ("2024-01-03,10.5,12,10,,200", "row 3: Close must be a number, found an empty cell"),
        ("2024-01-03,,12,10,11,abc", "row 3: Open must be a number, found an empty cell"),
        ('2024-01-03,"1,050",12,10,11,200', "row 3: Open must be a number, found '1,050'"),
        ("2024-01-03,10.5,12,10,11,N/A", "row 3: Volume must be a number, found 'N/A'"),
        ("2024-01-03,true,12,10,11,200", "row 3: Open must be a number, found 'true'"),
        (",10.5,12,10,11,200", "row 3: Date must be a date in the form of the first bar"),
        (
            "2024-01-03,10.5,12,10,11",
            "row 3: each row must have as many cells as the header, 6, found 5 cells",
        ),
        (
            "2024-01-03,10.5,12,10,11,200,",
            "row 3: each row must have as many cells as the header, 6, found 7",
        ),
        ("", "row 3: each row must have as many cells as the header, 6, found a blank line"),
        ('2024-01-03,10.5,12,10,11,"2\n00"', "row 3: each row must be one line, found a line break inside a"),
        ('2024-01-03,10.5,12,10,"11"0,200', "row 3: rows must be CSV, found: ',' expected after"),
        (f"2024-01-03,10.5,12,10,11,{'2' * 200_000}", "row 3: rows must be CSV, found: field larger than"),
        ('2024-01-03,10.5,12,10,11,"200', "row 3: rows must be CSV, found: unexpected end of data"),
        (
            "2024-01-03,10.5,12,10,NaN,200",
            "row 3, 2024-01-03: close must be a finite number, found close nan",
        ),
        (
            "2024-01-03,10.5,12,10,11,inf",
            "row 3, 2024-01-03: volume must be a finite number, found volume inf",
        ),
        (
            "2024-01-03,10.5,12,10,1e999,200",
            "row 3, 2024-01-03: close must be a finite number, found close inf",
        ),
        ("2024-01-03,-10.5,12,10,11,200", "row 3, 2024-01-03: open must be above zero, found open -10.5"),
        ("2024-01-03,10.5,12,0,11,200", "row 3, 2024-01-03: low must be above zero, found low 0"),
        (
            "2024-01-03,10.5,12,10,11,-200",
            "row 3, 2024-01-03: volume must not be negative, found volume -200",
        ),
        (
            "2024-01-03,10.5,9,10,9.5,200",
            "row 3, 2024-01-03: high must not be below low, found high 9 and low",
        ),
        (
            "2024-01-03,13,12,10,11,200",
            "row 3, 2024-01-03: high must not be below open, found high 12 and open",
        ),
        (
            "2024-01-03,10.5,12,10,9,200",
            "row 3, 2024-01-03: low must not be above close, found low 10 and cl",
        ),
        (
            "2024-01-02,10.5,12,10,11,200",
            "row 3: duplicate time: each must be later than the one before, found",
        ),
        (
            "2024-01-01,10.5,12,10,11,200",
            "row 3: unsorted time: each must be later than the one before, found",
        ),
    ],
)
def test_a_bad_row_is_refused_with_file_row_and_reason(tmp_path, row, reason):
    path = write(tmp_path / "spy.csv", HEADER, ROWS[0], row, ROWS[2])
    assert refusal(path).startswith(f"{path}, {reason}")


def test_the_first_bad_cell_is_named_and_the_other_rows_are_counted(tmp_path):
    bad = ("2024-01-03,10,11,9,x,100", "2024-01-04,y,11,z,10,100")
    path = write(tmp_path / "spy.csv", HEADER, ROWS[0], *bad)
    assert refusal(path) == (
        f"{path}, row 3: Close must be a number, found 'x' (and 1 more row like it). "
        "Correct the cell or remove the row."
    )


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Date,Open,High,Low,Clsoe,Volume", "there must be a column close, found 'Date', .* Rename 'clsoe'?"),
        ("Date;Open;High;Low;Close;Volume", "there must be a column date or .* separated by commas"),
        (
            "Day of trade,Open,High,Low,Close,Volume",
            "there must be a column date or datetime or timestamp or time",
        ),
        ("Date,Open,High,Low,Close,CLOSE", "one column must hold the close, found Close and CLOSE"),
        ("Date,Time,Open,High,Low,Close", "one column must hold the time, found Date and Time"),
    ],
)
def test_a_header_that_does_not_name_the_columns_is_refused(tmp_path, header, reason):
    cells = ["1"] * len(header.split(","))
    path = write(tmp_path / "spy.csv", header, ",".join(cells))
    with pytest.raises(DataError, match=rf"spy\.csv, row 1: {reason}"):
        load_bars(path, "SPY", "1d")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("spy.csv", b"", ", row 1: there must be a column date .* found an empty file"),
        ("spy.csv", HEADER.encode(), ": there must be at least one bar, found only a header"),
        ("spy.csv", bytes(range(256)), ", row 2: text must be UTF-8, found byte 0x80"),
        ("spy.csv", bytes(1000), ", row 1: there must be a column date"),
        (
            "spy.csv",
            f"{HEADER}\n{ROWS[0]}\n{ROWS[1]}\u20ac\n".encode("cp1252"),
            ", row 3: text must be UTF-8, found",
        ),
        (
            "spy.csv",
            f"{HEADER}\n{ROWS[0]}\n".encode("utf-16"),
            ", row 1: text must be UTF-8, found byte 0xff",
        ),
        ("spy.csv.gz", HEADER.encode(), ": the file must be readable, found Not a gzipped file"),
        (
            "spy.csv.gz",
            gzip.compress(HEADER.encode(), mtime=0)[:-9],
            ": the file must be whole, found: Compressed file ended",
        ),
        ("spy.parquet", b"", ": the file must be readable, found "),
        ("spy.parquet", HEADER.encode() * 9, ": the file must be readable, found .*No magic bytes"),
        ("spy.xlsx", b"PK", r": a data file must be one of \.csv, \.csv\.gz, \.parquet"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{name}{reason}"):
        load_bars(path, "SPY", "1d")


@pytest.mark.parametrize("name", ["spy.csv", "spy.parquet"])
def test_a_file_that_is_not_there_is_refused(tmp_path, name):
    assert refusal(tmp_path / name).startswith(f"{tmp_path / name}: the file must be readable, found ")


def test_an_unknown_timeframe_is_refused(tmp_path):
    path = write(tmp_path / "spy.csv", HEADER, *ROWS)
    with pytest.raises(ConfigurationError, match="a timeframe must be a count and a unit, found 'daily'"):
        load_bars(path, "SPY", "daily")


PARQUET_ROWS = "(VALUES " + ", ".join(f"('{row.replace(',', chr(39) + ',', 1)})" for row in ROWS) + ")"


@pytest.mark.parametrize(
    "date",
    [
        "d",
        "d::DATE",
        "d::TIMESTAMP",
        "d::TIMESTAMP_NS",
        "(d || ' 00:00:00+00')::TIMESTAMPTZ",
        "epoch_ms(d::TIMESTAMP)",
        "epoch(d::TIMESTAMP)::BIGINT",
    ],
)
@pytest.mark.parametrize("number", ["DOUBLE", "FLOAT", "DECIMAL(18, 4)", "VARCHAR"])
def test_parquet_equals_csv_whatever_its_types(tmp_path, date, number):
    expected = load_bars(write(tmp_path / "spy.csv", HEADER, *ROWS), "SPY", "1d")
    columns = ", ".join(f"{name}::{number} AS {name}" for name in ("open", "high", "low", "close", "volume"))
    path = write_parquet(
        tmp_path / "spy.parquet",
        f"SELECT {columns}, {date} AS Date FROM {PARQUET_ROWS} AS rows(d, open, high, low, close, volume)",
    )
    bars = load_bars(path, "SPY", "1d")
    for name in BarsLoaded.__struct_fields__:
        np.testing.assert_array_equal(getattr(bars, name), getattr(expected, name))


def test_the_index_of_a_pandas_frame_is_the_time(tmp_path):
    path = write_parquet(
        tmp_path / "spy.parquet",
        f"SELECT open, high, low, close, d::DATE AS __index_level_0__ "
        f"FROM {PARQUET_ROWS} AS rows(d, open, high, low, close, volume)",
    )
    assert load_bars(path, "SPY", "1d").time.tolist() == instants("2024-01-02", "2024-01-03", "2024-01-04")


@pytest.mark.parametrize(
    ("close", "reason"),
    [
        ("NULL::DOUBLE", "row 1: close must be a number, found an empty cell (and 2 more rows like it)"),
        ("'abc'", "row 1: close must be a number, found 'abc' (and 2 more rows like it)"),
        (
            "'NaN'::DOUBLE",
            "row 1, 2024-01-02: close must be a finite number, found close nan (and 2 more rows",
        ),
        ("close - (d = '2024-01-03')::INT * 3", "row 2, 2024-01-03: low must not be above close"),
    ],
)
def test_a_bad_row_in_parquet_is_refused_with_its_number(tmp_path, close, reason):
    path = write_parquet(
        tmp_path / "spy.parquet",
        f"SELECT d, open, high, low, {close} AS close, d AS date "
        f"FROM {PARQUET_ROWS} AS rows(d, open, high, low, close, volume)",
    )
    assert refusal(path).startswith(f"{path}, {reason}")


def test_a_data_file_is_looked_for_beside_the_workflow_then_here_then_among_the_bundled(
    tmp_path, monkeypatch
):
    beside, here = tmp_path / "workflows", tmp_path / "here"
    beside.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    bundled = find_data_file("sp500.csv", [beside])
    assert bundled.name == "sp500.csv.gz"
    assert bundled.parent.name == "data"
    (here / "sp500.csv").touch()
    assert find_data_file("sp500.csv", [beside]) == here / "sp500.csv"
    (beside / "sp500.csv.gz").touch()
    assert find_data_file("sp500.csv", [beside]) == beside / "sp500.csv.gz"
    (beside / "sp500.csv").touch()
    assert find_data_file("sp500.csv", [beside]) == beside / "sp500.csv"
    assert find_data_file("../workflows/sp500.csv") == here / "../workflows/sp500.csv"
    assert find_data_file(str(beside / "sp500.csv")) == beside / "sp500.csv"


def test_a_data_file_that_is_nowhere_is_refused_with_places_and_similar_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "qqq_daily.parquet").touch()
    with pytest.raises(DataError) as caught:
        find_data_file("data/qqq_dayly.parquet")
    message = str(caught.value)
    assert message.startswith(
        f"data file 'data/qqq_dayly.parquet' must exist, found none in {tmp_path / 'data'}, "
    )
    assert message.endswith("Did you mean qqq_daily.parquet? Bundled: nasdaq.csv, sp500.csv.")
    with pytest.raises(DataError, match=r"Did you mean sp500\.csv\?"):
        find_data_file("sp50.csv")
    with pytest.raises(DataError, match=r"found none in .*\. Bundled"):
        find_data_file("data")
