"""Templates written in Python: used like those that are shipped, and plain configuration once they run."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import admf
import msgspec
import pytest
from admf import CompositeWorkflowTemplate, Coordinator, WorkflowPhaseDefinition, WorkflowType
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.cli import app
from admf.coordinator.result import WorkflowResult
from admf.coordinator.streams.run_history import run_history
from admf.coordinator.workflows.loading import load_workflow
from admf.coordinator.workflows.stand_ins import Reference
from admf.coordinator.workflows.templates import WORKFLOW_TEMPLATES
from admf.domain.errors import AdmfError, ConfigurationError, UnknownNameError
from typer.testing import CliRunner

EXAMPLE = re.findall(
    r"```python\n(.*?)```",
    (Path(__file__).parents[2] / "docs" / "workflows.md").read_text(),
    flags=re.DOTALL,
)[0]
NAME = "risk_checked"
SETTINGS: dict[str, object] = {
    "workflow": NAME,
    "data": {"file": "sp500.csv", "end": "2004-12-31"},
    "strategies": [{"name": "cross", "type": "sma_crossover"}],
    "shard_size": 2,
    "parameters": {
        "train_end": "2001-12-31",
        "parameter_space": {"cross.fast": [5, 10], "cross.slow": [30, 50]},
    },
}
WRITTEN: dict[str, object] = {
    **{key: value for key, value in SETTINGS.items() if key != "parameters"},
    "name": NAME,
    "workflow": [
        {
            "name": "discovery",
            "type": "optimization",
            "data": {"end": "2001-12-31"},
            "optimization": {"parameters": {"cross.fast": [5, 10], "cross.slow": [30, 50]}},
        },
        {
            "name": "risk_sweep",
            "type": "signal_replay",
            "inherit_best_from": "discovery",
            "optimization": {"parameters": {"risk.stop_loss": [0, 5, 10]}},
        },
        {
            "name": "walk_forward",
            "type": "validation",
            "depends_on": ["discovery", "risk_sweep"],
            "risk": {"stop_loss": "${risk_sweep.best.parameters.risk.stop_loss}"},
            "optimization": {
                "parameters": {
                    "cross.fast": [5, 10],
                    "cross.slow": ["${discovery.best.parameters.cross.slow}"],
                }
            },
            "walk_forward": {"train_size": 750, "test_size": 250},
        },
    ],
}
"""What the template says, without it."""
PHASES = ("discovery", "risk_sweep", "walk_forward")
RUN = "workflow_20261121_101500_00000000"
KILLED = """
import os, signal, sys
import msgspec
from admf.coordinator import coordinator
from admf.eventstore.store import EventStore

{definition}

def killing(self, head, events, count=[0], append=EventStore.append, **ids):
    end = append(self, head, events, **ids)
    count[0] += 1
    if count[0] == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return end

coordinator.new_run_id = lambda: sys.argv[3]
with Coordinator(sys.argv[1]) as running:
    running.workflow_registry.register(template)
    EventStore.append = killing
    running.execute_workflow(msgspec.json.decode(sys.argv[4]))
"""
Heads = Callable[[WorkflowResult], dict[str, str]]


def definition() -> str:
    """The part of the example in the documents that defines the template."""
    return EXAMPLE.partition("with Coordinator")[0]


def minimal(name: str, **phase: object) -> CompositeWorkflowTemplate:
    """A template of one backtest."""
    stated = {"name": "only", "workflow_type": WorkflowType.BACKTEST, "config_generator": lambda _: {}}
    return CompositeWorkflowTemplate(name, "", [WorkflowPhaseDefinition(**(stated | phase))])  # type: ignore[arg-type]


@pytest.fixture
def template() -> CompositeWorkflowTemplate:
    names: dict[str, CompositeWorkflowTemplate] = {}
    exec(definition(), names)
    return names["template"]


def test_the_example_of_the_documents_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, WorkflowResult] = {}
    exec(compile(EXAMPLE, "docs/workflows.md", "exec"), names)
    assert names["result"].status == "completed"
    assert "'stop_loss'" in capsys.readouterr().out


@pytest.mark.parametrize("store", ["memory://", "log"])
def test_a_template_from_python_is_the_same_workflow_written_out(
    folder: Path, template: CompositeWorkflowTemplate, heads: Heads, store: str
) -> None:
    with Coordinator(store) as coordinator:
        coordinator.workflow_registry.register(template)
        result = coordinator.execute_workflow(SETTINGS)
        written = coordinator.execute_workflow(WRITTEN)
        assert result.name == NAME
        assert [phase.type for phase in result.phases.values()] == [
            "optimization",
            "signal_replay",
            "validation",
        ]
        assert heads(result) == heads(written)
        best = written.phase("risk_sweep").output.best
        assert best is not None
        assert result.aggregated == {
            "stop_loss": best.parameters["risk.stop_loss"],
            "sharpe_ratio": written.phase("walk_forward").output.metrics["sharpe_ratio"],
        }
        assert written.aggregated is None


def test_what_is_recorded_is_plain_configuration(
    coordinator: Coordinator, template: CompositeWorkflowTemplate
) -> None:
    coordinator.workflow_registry.register(template)
    result = coordinator.execute_workflow(SETTINGS)
    recorded = msgspec.json.decode(run_history(coordinator.workspace.store, result.run).started.configuration)
    assert "parameters" not in recorded["shared"]
    last = recorded["phases"][2]
    assert last["risk"] == {"stop_loss": "${risk_sweep.best.parameters.risk.stop_loss}"}
    assert recorded["phases"][1]["inherit_best_from"] == "discovery"


def test_run_and_inner_workflows_know_the_template(folder: Path) -> None:
    WORKFLOW_TEMPLATES.register(minimal("alone"))
    plain = {"strategies": [{"type": "momentum"}], "data": {"file": "walk.csv"}, "capital": 5000}
    WORKFLOW_TEMPLATES.register(minimal("alone", config_generator=lambda _: plain), replace=True)
    assert admf.run("alone", store="memory://").phase("only").status == "completed"
    outer = {"workflow": [{"name": "inner", "type": "workflow", "workflow": "alone"}]}
    assert list(admf.run(outer, store="memory://").phases) == ["inner.only"]


@pytest.mark.parametrize("fatal", [2, 7, 14])
def test_killed_at_an_append_it_is_resumed_replayed_and_forked_where_nobody_registered_it(
    folder: Path, heads: Heads, fatal: int
) -> None:
    script = KILLED.format(definition=definition())
    arguments = ["log", str(fatal), RUN, msgspec.json.encode(SETTINGS).decode()]
    ended = subprocess.run([sys.executable, "-c", script, *arguments], timeout=300, check=False)
    assert ended.returncode == -signal.SIGKILL
    with Coordinator("log") as coordinator:
        assert NAME not in coordinator.workflow_registry
        assert coordinator.result(RUN).status != "completed"
        resumed = coordinator.resume_workflow(RUN)
        assert resumed.status == "completed"
        assert resumed.aggregated is None
        assert heads(resumed) == heads(coordinator.execute_workflow(WRITTEN))
        replayed = coordinator.replay_workflow(RUN)
        assert [phase.outcome for phase in replayed] == ["identical"] * len(PHASES)
        fork = coordinator.fork_workflow(RUN, "risk_sweep", ["risk_sweep.capital=50000"])
        assert [fork.phase(name).status for name in PHASES] == ["reused", "completed", "completed"]
        assert fork.phase("risk_sweep").head_hash != resumed.phase("risk_sweep").head_hash
        assert not verify_workspace(coordinator.workspace).violations


def test_settings_that_phases_share_are_changed_in_one_phase_alone() -> None:
    phases = [
        WorkflowPhaseDefinition(
            name, WorkflowType.OPTIMIZATION, lambda base: {"optimization": base.parameters["search"]}
        )
        for name in ("first", "second")
    ]
    WORKFLOW_TEMPLATES.register(CompositeWorkflowTemplate("shared", "", phases))
    settings = {"workflow": "shared", "parameters": {"search": {"objective": "sharpe_ratio"}}}
    workflow = load_workflow(settings, ["first.optimization.objective=total_return"])
    objectives = [phase["optimization"]["objective"] for phase in workflow.phases]
    assert objectives == ["total_return", "sharpe_ratio"]


def test_loops_and_conditions_are_described_by_generators(coordinator: Coordinator) -> None:
    search = {"optimization": {"parameters": {"sma_crossover.fast": ["${previous.trials:-3}", 5]}}}
    phases = [
        WorkflowPhaseDefinition(
            "refine",
            WorkflowType.OPTIMIZATION,
            lambda _: search | {"repeat": {"max": 3, "until": "turn == 2"}},
        ),
        WorkflowPhaseDefinition(
            "never",
            WorkflowType.BACKTEST,
            lambda _, refine: {"inherit_best_from": refine, "when": f"{refine}.trials > 2"},
            depends_on=["refine"],
        ),
    ]
    coordinator.workflow_registry.register(CompositeWorkflowTemplate("iterative", "", phases))
    result = coordinator.execute_workflow(
        {"workflow": "iterative", "strategy": "sma_crossover", "data_file": "walk.csv"}
    )
    assert result.phase("refine").turn == "refine#2"
    assert result.phase("never").status == "skipped"


def test_course_and_type_are_those_of_the_definition() -> None:
    WORKFLOW_TEMPLATES.register(
        minimal("timed", workflow_type="backtest", continue_on_failure=True, timeout_seconds=9)
    )
    (phase,) = load_workflow({"workflow": "timed"}).phases
    assert phase == {
        "name": "only",
        "type": "backtest",
        "depends_on": [],
        "continue_on_failure": True,
        "timeout_seconds": 9,
    }


def test_an_unknown_template_is_refused_with_the_nearest_name(refusal: Callable[..., str]) -> None:
    WORKFLOW_TEMPLATES.register(minimal("weekly_tuning"))
    message = refusal({"workflow": "weekly_tunning"}, UnknownNameError)
    assert message == "workflow: unknown workflow 'weekly_tunning'. Did you mean weekly_tuning?"


def test_an_unknown_phase_in_depends_on_is_refused_when_it_is_registered() -> None:
    with pytest.raises(UnknownNameError) as caught:
        WORKFLOW_TEMPLATES.register(minimal("lost", depends_on=["onlx"]))
    assert str(caught.value) == "lost.only.depends_on: unknown phase 'onlx'. Did you mean only?"
    assert "lost" not in WORKFLOW_TEMPLATES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("twice", "the workflow template 'twice' is registered already; choose another name, or say replace"),
        ("train_test", "the workflow template 'train_test': a shipped template or type of phase has that"),
        ("backtest", "the workflow template 'backtest': a shipped template or type of phase has that name"),
    ],
)
def test_a_name_that_is_taken_is_refused(name: str, message: str) -> None:
    WORKFLOW_TEMPLATES.register(minimal("twice"))
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        WORKFLOW_TEMPLATES.register(minimal(name))


@pytest.mark.parametrize(
    ("generator", "error", "message"),
    [
        (
            lambda _: {"capitl": 1},
            UnknownNameError,
            "workflow.phases[0].capitl: unknown key 'capitl'. Did",
        ),
        (lambda _: {"type": "backtest"}, ConfigurationError, "returned type, which its definition says"),
        (
            lambda _: None,
            ConfigurationError,
            "wrong.only: its config_generator must return a mapping, was",
        ),
        (lambda base: {"capital": base}, ConfigurationError, "a workflow must consist of mappings, lists,"),
        (dict[str, int]().copy, ConfigurationError, "wrong.only: its config_generator failed; TypeError:"),
        (lambda base: base.parameters["x"], ConfigurationError, "its config_generator failed; KeyError: 'x'"),
        (lambda base: base.paramters, ConfigurationError, "no setting 'paramters' stands beside `workflow`"),
    ],
)
def test_a_generator_that_goes_wrong_is_refused_with_its_phase(
    refusal: Callable[..., str], generator: Callable[..., object], error: type[AdmfError], message: str
) -> None:
    WORKFLOW_TEMPLATES.register(minimal("wrong", config_generator=generator))
    settings = {"workflow": "wrong", "strategy": "momentum", "data_file": "walk.csv"}
    assert message in refusal(settings, error)


def test_a_part_of_an_output_that_there_is_not_is_refused_with_the_nearest_one(
    refusal: Callable[..., str], template: CompositeWorkflowTemplate
) -> None:
    guessed = msgspec.structs.replace(
        template.phases[1],
        config_generator=lambda _, discovery: {"signals_from": discovery, "capital": discovery["metrisc"]},
    )
    phases = [template.phases[0], guessed, template.phases[2]]
    WORKFLOW_TEMPLATES.register(msgspec.structs.replace(template, phases=phases))
    message = refusal(SETTINGS, UnknownNameError)
    assert message.startswith("workflow.phases[1].capital: unknown value 'discovery.metrisc'. Did you mean")


@pytest.mark.parametrize(
    "computed",
    [
        lambda trials: trials + 1,
        lambda trials: 2 * trials,
        lambda trials: trials == 3,
        lambda trials: 1 if trials else 2,
        lambda trials: list(trials),
        lambda trials: float(trials),
        lambda trials: 3 in trials,
    ],
)
def test_nothing_can_be_computed_with_what_is_not_known_yet(computed: Callable[[Reference], object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        computed(Reference("training").trials)
    assert "training.trials: is not known before the phase 'training' has run" in str(caught.value)
    assert "${training.trials * 2}" in str(caught.value)


def test_a_comparison_is_a_condition_that_nothing_can_be_decided_by() -> None:
    trials, sharpe = Reference("training").trials, Reference("training")["sharpe"]
    assert str(trials >= 3) == "training.trials >= 3"
    assert str(1.5 > sharpe) == "training.metrics.sharpe_ratio < 1.5"  # noqa: SIM300
    assert str(sharpe <= Reference("refine").best.sharpe_ratio) == (
        "training.metrics.sharpe_ratio <= refine.best.sharpe_ratio"
    )
    with pytest.raises(ConfigurationError, match="write it as `when` or 'enabled' of a phase"):
        bool(trials < 3)
    with pytest.raises(ConfigurationError, match="can be compared with numbers and references, was '3'"):
        trials > "3"  # noqa: B015


IN_A_FILE = """
from admf import CompositeWorkflowTemplate, WorkflowPhaseDefinition

def search(base):
    fast = base.parameters.get("fast", [5])
    return {"optimization": {"parameters": {"cross.fast": fast, "cross.slow": [20]}}}

tuning = CompositeWorkflowTemplate(
    name="tuning",
    description="Search, then test",
    phases=[WorkflowPhaseDefinition(name="search", workflow_type="optimization", config_generator=search)],
)
"""


def test_templates_of_a_python_file_are_listed_drawn_and_run(folder):
    (folder / "mine.py").write_text(IN_A_FILE)
    described = {
        "workflow": "mine.py:tuning",
        "data_file": "walk.csv",
        "strategies": [{"name": "cross", "type": "sma_crossover"}],
        "parameters": {"fast": [3, 5]},
    }
    with Coordinator("memory://") as coordinator:
        assert coordinator.execute_workflow(described).phase("search").output.trials == 2
    invoke = CliRunner().invoke
    listed = invoke(app, ["templates", "mine.py"])
    assert listed.stdout.split() == ["mine.py:tuning", "Search,", "then", "test"]
    assert "search  optimization" in invoke(app, ["graph", "mine.py:tuning"]).stdout
    unknown = invoke(app, ["graph", "mine.py:tunin"])
    assert unknown.exit_code == 2
    assert "unknown template in mine.py 'tunin'. Did you mean tuning?" in unknown.output.replace("\n", " ")
    settings = ["--set", "data_file=walk.csv", "--set", "strategies=[{name: cross, type: sma_crossover}]"]
    ran = invoke(app, ["run", "mine.py:tuning", *settings])
    assert ran.exit_code == 0, ran.output


def test_a_template_that_an_installed_package_offers_is_found_by_its_name(folder, monkeypatch):
    (folder / "offering.py").write_text(IN_A_FILE)
    (folder / "offering-1.0.dist-info").mkdir()
    (folder / "offering-1.0.dist-info" / "METADATA").write_text("Name: offering\nVersion: 1.0\n")
    entries = "[admf.workflows]\noffered_tuning = offering:tuning\n"
    (folder / "offering-1.0.dist-info" / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(str(folder))
    invoke = CliRunner().invoke
    assert "offered_tuning" in invoke(app, ["templates"]).stdout
    assert "search  optimization" in invoke(app, ["graph", "offered_tuning"]).stdout
