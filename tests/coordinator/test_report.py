import json
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from admf import Coordinator
from admf.coordinator import cli
from admf.coordinator.reporting.charts import thinned
from admf.coordinator.reporting.report import write_report
from admf.domain.errors import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

STUDY = {
    "name": "calm & <volatile>",
    "data": {"file": "sp500.csv", "end": "2006-12-31"},
    "strategies": [{"name": "cross", "type": "sma_crossover"}],
    "workflow": [
        {
            "name": "training",
            "type": "optimization",
            "optimization": {"parameters": {"cross.fast": [5, 10], "cross.slow": [50, 100]}},
        },
        {"name": "regimes", "type": "regime_analysis", "of": "training", "classifier": {"type": "trend"}},
        {
            "name": "folds",
            "type": "validation",
            "walk_forward": {"train_size": 500, "test_size": 250},
            "optimization": {"parameters": {"cross.fast": [5, 10], "cross.slow": [50]}},
        },
        {
            "name": "paths",
            "type": "validation",
            "cross_validation": {"folds": 4, "test_folds": 2},
            "optimization": {"parameters": {"cross.fast": [5, 10], "cross.slow": [50]}},
        },
        {"name": "ensemble", "type": "ensemble", "signals_from": "training", "trials": {"top": 2}},
        {"name": "never", "type": "backtest", "when": "training.best.sharpe_ratio > 99"},
    ],
}


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    with Coordinator(folder / ".admf") as coordinator:
        result = coordinator.execute_workflow(STUDY)
        file = write_report(coordinator.workspace, result.run, folder / "page.html")
        curve = result.phase("training").equity()
    return folder, result.run, file.read_text(), curve


def test_a_report_has_the_charts_that_suit_each_phase(reported):
    _, _, page, _ = reported
    sections = dict(zip(*[iter(re.split(r"<h2>(.*?)</h2>", page)[1:])] * 2, strict=True))
    assert set(sections) == {"training", "regimes", "folds", "paths", "ensemble", "never"}
    assert "Returns by month" in sections["training"]
    assert "sharpe_ratio by parameters" in sections["training"]
    assert "maximum adverse excursion" in sections["training"]
    assert '"Regimes"' in sections["regimes"]
    assert '"Folds"' in sections["folds"]
    assert sections["paths"].count('"name":"path ') == 3
    assert '"Weights"' in sections["ensemble"]
    assert "weight.cross" not in sections["ensemble"].partition("Plotly.newPlot")[0]
    assert "Plotly.newPlot" not in sections["never"]
    assert "training.best.sharpe_ratio &gt; 99" in sections["never"]


def test_the_drawn_equity_is_that_of_the_read_models(reported):
    _, _, page, curve = reported
    drawn = re.search(
        r'"name":"equity"[^{}]*(?:\{[^{}]*\}[^{}]*)*?"y":\{"dtype":"f8","bdata":"([^"]+)"', page
    )
    assert drawn, "the equity line was not found"
    values = np.frombuffer(b64decode(json.loads(f'"{drawn[1]}"')), "<f8")
    assert np.array_equal(values, curve["equity"])


def test_a_report_needs_no_network_and_escapes_names(reported):
    _, _, page, _ = reported
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert "<title>calm &amp; &lt;volatile&gt;</title>" in page


def test_a_file_that_exists_is_replaced_only_by_force(reported):
    folder, run, page, _ = reported
    command = ["--store", str(folder / ".admf"), "report", run, "--to", str(folder / "page.html")]
    refused = CliRunner().invoke(cli.app, command)
    assert refused.exit_code == 2
    assert "exists" in refused.output
    forced = CliRunner().invoke(cli.app, [*command, "--force", "--json"])
    assert json.loads(forced.stdout) == {"file": str(folder / "page.html")}
    assert len((folder / "page.html").read_text()) == len(page)


def test_a_report_into_a_folder_that_is_missing_is_refused(reported):
    folder, run, _, _ = reported
    with Coordinator(folder / ".admf") as coordinator, pytest.raises(ConfigurationError, match="no folder"):
        write_report(coordinator.workspace, run, Path(folder / "nowhere" / "page.html"))


@given(arrays(np.float64, st.integers(1, 300), elements=st.floats(-1e6, 1e6)), st.integers(2, 40))
def test_a_thinned_line_keeps_its_ends_and_its_extremes(values, points):
    places = thinned(values, points)
    assert places.size <= max(points + 2, values.size if values.size <= points else 0)
    assert (np.diff(places) > 0).all()
    assert {places[0], places[-1]} == {0, values.size - 1}
    assert values[places].max() == values.max()
    assert values[places].min() == values.min()
