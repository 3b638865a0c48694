"""What `admf graph` shows, and how commands tell that a phase failed and the workflow went on."""

import json
import re
from pathlib import Path

import pytest
from admf.coordinator.cli import app
from typer.testing import CliRunner, Result

STUDY = """
name: study
data: {file: walk.csv}
strategies: [{name: cross, type: sma_crossover}]
workflow:
  - {name: search, type: optimization, optimization: {parameters: {cross.fast: [3, 5], cross.slow: [13]}}}
  - {name: never-more, type: backtest, when: search.trials > 9}
  - {name: broken, type: backtest, capital: "${search.best.parameters}", continue_on_failure: true}
  - name: end
    type: optimization
    depends_on: [never-more, broken]
    requires: ended
    repeat: {max: 2, tolerance: 1, of: trials, until: turn > 5}
    optimization: {parameters: {cross.fast: [3, 5], cross.slow: ["${search.best.parameters.cross.slow}"]}}
"""
MERMAID = """\
graph TD
    search["search<br/>optimization"]
    phase2["never-more<br/>backtest<br/>when search.trials #gt; 9"]
    broken["broken<br/>backtest<br/>may fail"]
    phase4["end<br/>optimization<br/>\
repeats until turn #gt; 5 or trials changes by less than 1, at most 2 times<br/>also after a failure"]
    search -.-> phase2
    search --> broken
    phase2 --> phase4
    broken --> phase4
    search --> phase4
"""
COLOURED = """\
    classDef completed fill:#c8e6c9
    class search,phase4 completed
    classDef failed fill:#ffcdd2
    class broken failed
    classDef skipped fill:#eeeeee
    class phase2 skipped
"""
TREE = """\
study
└── search  optimization  completed
    ├── never-more  backtest  skipped
    │   when search.trials > 9 does not hold: search.trials was 2
    └── broken  backtest  failed
        may fail
        ConfigurationError: workflow.phases[2].capital: input should be a valid number, was {}.
        └── end  optimization  completed, 2 turns
            also after never-more, search
            repeats until turn > 5 or trials changes by less than 1, at most 2 times
            also after a failure
            converged: trials changed by 0, less than 1
"""


def admf(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="admf", env={"COLUMNS": "110"})


@pytest.fixture
def study(folder: Path) -> Path:
    (folder / "study.yaml").write_text(STUDY)
    return folder


def test_a_graph_is_written_as_mermaid(study: Path) -> None:
    found = admf("graph", "study.yaml", "--format", "mermaid")
    assert (found.exit_code, found.stdout) == (0, MERMAID)
    assert admf("graph", "train_test", "--format", "mermaid").stdout.splitlines()[-1] == (
        "    training --> out_of_sample"
    )


def test_a_failure_that_a_workflow_goes_on_without_is_an_exit_code_and_a_reason(study: Path) -> None:
    ran = admf("run", "study.yaml")
    assert ran.exit_code == 1
    assert "broken: ConfigurationError: workflow.phases[2].capital: input should be" in ran.stdout
    shown = json.loads(admf("show", "last", "--json").stdout)
    assert (shown["status"], shown["phases"]["broken"]["status"]) == ("completed", "failed")
    assert shown["phases"]["never-more"]["reason"].startswith("when search.trials > 9 does not hold")
    status = json.loads(admf("status", "last", "--json").stdout)
    assert (status["completed"], status["phases"]) == (4, 4)
    assert (status["skipped"], status["failed"]) == (["never-more"], ["broken"])
    assert admf("status", "last", "--watch").exit_code == 1


def test_the_graph_of_a_run_shows_what_came_of_each_phase(study: Path) -> None:
    admf("run", "study.yaml")
    tree = re.sub(r"was \{.*\}", "was {}", admf("graph", "last").stdout)
    assert tree == TREE
    mermaid = admf("graph", "last", "--format", "mermaid").stdout
    assert mermaid.endswith(COLOURED)
    assert "at most 2 times<br/>also after a failure<br/>completed, 2 turns" in mermaid
    phases = json.loads(admf("graph", "last", "--json").stdout)["phases"]
    assert [(phase["name"], phase["status"], phase["turns"]) for phase in phases] == [
        ("search", "completed", 1),
        ("never-more", "skipped", 0),
        ("broken", "failed", 0),
        ("end", "completed", 2),
    ]


def test_what_is_neither_a_workflow_nor_a_run_is_not_found(study: Path) -> None:
    admf("run", "study.yaml")
    found = admf("graph", "other.yaml")
    assert found.exit_code == 3
    assert "there is no run 'other.yaml'" in found.stderr
