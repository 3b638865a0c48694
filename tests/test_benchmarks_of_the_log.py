"""The scripts that measure the log and the read models, on the smallest store that they can make."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize(
    ("script", "figure"),
    [("log.py", "rebuild of the read models (million rows/s)"), ("queries.py", "fills of a container")],
)
def test_a_script_prints_its_figures(script, figure):
    command = [sys.executable, str(BENCHMARKS / script), "--runs", "2"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(figure))
    assert float(line.removeprefix(figure).split()[0]) > 0
