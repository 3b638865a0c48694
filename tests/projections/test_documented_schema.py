import re
from pathlib import Path

from admf.eventstore.store import open_store
from admf.projections.read_models import ReadModels

DOCUMENT = Path(__file__).parents[2] / "docs" / "read_models.md"


def test_every_table_and_column_is_documented_with_its_type():
    documented = {
        section.partition("\n")[0]: re.findall(r"^\| (\w+) \| ([A-Z]+) \| .+ \|$", section, re.MULTILINE)
        for section in DOCUMENT.read_text().split("\n## ")[1:]
    }

    with open_store("memory://") as store, ReadModels(None, store) as models:
        tables = [table for (table,) in models.query("SHOW TABLES").rows]
        actual = {table: [row[:2] for row in models.query(f"DESCRIBE {table}").rows] for table in tables}

    assert documented == actual
