import csv
import gzip
import hashlib
import json
from importlib import resources

import pytest
from admf.configs import data
from admf.coordinator.market.market_data import find_data_file, load_bars
from admf.domain.bars import gaps, iso_time

FOLDER = resources.files(data)
METADATA = json.loads((FOLDER / "metadata.json").read_text("utf-8"))


def test_every_bundled_file_is_described():
    bundled = {file.name for file in FOLDER.iterdir() if file.name.endswith((".csv", ".gz", ".parquet"))}
    assert bundled == set(METADATA["files"]) == set(METADATA["source"]["paths"])


def test_source_and_licence_are_stated():
    assert METADATA["source"]["package"] == "arch"
    assert METADATA["source"]["licence"] == "NCSA"
    assert METADATA["source"]["licence_text"][0].startswith("Copyright")


@pytest.mark.parametrize("name", METADATA["files"])
def test_a_bundled_file_is_the_one_described(name):
    described = METADATA["files"][name]
    content = (FOLDER / name).read_bytes()
    rows = list(csv.reader(gzip.decompress(content).decode("utf-8").splitlines()))
    assert hashlib.sha256(content).hexdigest() == described["sha256"]
    assert rows[0] == described["columns"]
    assert len(rows) - 1 == described["rows"]


@pytest.mark.parametrize("name", METADATA["files"])
def test_a_bundled_file_loads_without_complaint(name):
    described = METADATA["files"][name]
    path = find_data_file(name.removesuffix(".gz"))
    bars = load_bars(path, described["symbol"], described["timeframe"])
    assert len(bars) == described["rows"]
    assert (iso_time(bars.time[0]), iso_time(bars.time[-1])) == (described["first"], described["last"])
    closed_in_september_2001 = [(iso_time(gap.previous_time), iso_time(gap.next_time)) for gap in gaps(bars)]
    assert closed_in_september_2001 == [("2001-09-10", "2001-09-17")]
