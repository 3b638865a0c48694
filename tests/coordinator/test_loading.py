import textwrap

import msgspec
import pytest
from admf.coordinator.configuration.sources import templates
from admf.coordinator.workflows.loading import load_workflow, resolved_workflow

WORKFLOW = {
    "name": "loaded",
    "seed": 3,
    "capital": 1000,
    "data": {"file": "first.csv", "symbol": "FIRST"},
    "strategies": [{"name": "cross", "type": "sma_crossover", "parameters": {"fast": 3}}],
    "workflow": [
        {"name": "search", "type": "optimization", "optimization": {"parameters": {"cross.fast": [3, 4]}}},
        {"name": "check", "type": "validation", "inherit_best_from": "search"},
    ],
}


def loaded(*changes, source=WORKFLOW):
    resolved = resolved_workflow(load_workflow(source, changes))
    return {section.name: section for section in resolved.phases}


def test_the_shipped_templates_load():
    assert set(templates()) >= {"train_test", "walk_forward"}
    for name in templates():
        workflow = load_workflow(name)
        assert workflow.name == name
        assert resolved_workflow(workflow).phases


def test_a_mapping_is_not_changed_by_loading_it():
    before = msgspec.json.encode(WORKFLOW)
    load_workflow(WORKFLOW, ["search.capital=5", "data.file=x.csv", "seed=9"])
    assert msgspec.json.encode(WORKFLOW) == before


@pytest.mark.parametrize(
    ("change", "path", "search", "check"),
    [
        ("capital=5", "capital", 5, 5),
        ("search.capital=5", "capital", 5, 5),
        ("check.capital=5", "capital", 1000, 5),
        ("data.start=2001-02-03", "data.start", "2001-02-03", "2001-02-03"),
        ("check.data.start=2001-02-03", "data.start", None, "2001-02-03"),
        ("execution.commission.percent=0.5", "execution.commission.percent", 0.5, 0.5),
        ("strategies.cross.parameters.slow=40", "strategies.0.parameters.slow", 40, 40),
        ("strategies.sma_crossover.parameters.slow=40", "strategies.0.parameters.slow", 40, 40),
        ("strategies.0.direction=long", "strategies.0.direction", "long", "long"),
        (
            "search.optimization.parameters.cross.fast=[7]",
            "optimization.parameters",
            {"cross.fast": [7]},
            None,
        ),
        (
            "workflow.search.optimization.parameters.cross.slow=[50, 60]",
            "optimization.parameters",
            {"cross.fast": [3, 4], "cross.slow": [50, 60]},
            None,
        ),
        ("strategy=rsi", "strategies.0.type", "rsi", "rsi"),
        ("data_file=other.csv", "data.file", "other.csv", "other.csv"),
    ],
)
def test_a_change_replaces_what_its_path_leads_to(change, path, search, check):
    found = []
    for section in loaded(change).values():
        here = section.model_dump(mode="json")
        for step in path.split("."):
            here = here[int(step)] if step.isdigit() else (here or {}).get(step)
        found.append(here)
    assert found == [search, check]


def test_later_changes_win():
    assert loaded("capital=5", "capital=6")["search"].capital == 6


@pytest.mark.parametrize(
    ("changes", "symbols"),
    [
        ([], ["FIRST", "FIRST"]),
        (["data.file=other.csv"], ["", ""]),
        (["check.data.file=other.csv"], ["FIRST", ""]),
        (["check.data.file=other.csv", "check.data.symbol=OTHER"], ["FIRST", "OTHER"]),
        (["check.data.start=2001-01-01"], ["FIRST", "FIRST"]),
    ],
)
def test_a_symbol_belongs_to_its_file(changes, symbols):
    assert [section.data.symbol for section in loaded(*changes).values()] == symbols


def test_dates_of_a_phase_replace_both_dates_of_its_source():
    sections = loaded(
        "search.data.start=2001-01-01", "search.data.end=2002-01-01", "check.data.end=2003-01-01"
    )
    assert str(sections["search"].data.start) == "2001-01-01"
    assert (sections["check"].data.start, str(sections["check"].data.end)) == (None, "2003-01-01")


def test_a_phase_that_inherits_depends_on_its_source():
    assert loaded()["check"].depends_on == ("search",)


def test_shared_sections_apply_only_where_they_are_of_use():
    source = WORKFLOW | {
        "optimization": {"objective": "sortino_ratio"},
        "workflow": [{"name": "a", "type": "optimization"}, {"name": "b", "type": "backtest"}],
    }
    sections = loaded(source=source)
    assert sections["a"].optimization.objective == "sortino_ratio"
    assert sections["b"].optimization is None


def test_phases_keep_their_order_where_dependencies_allow():
    names = {"e": [], "d": ["b"], "c": [], "b": ["c"], "a": ["d", "e"]}
    phases = [{"name": name, "type": "backtest", "depends_on": before} for name, before in names.items()]
    workflow = load_workflow(WORKFLOW | {"workflow": phases})
    assert [node.name for node in workflow.graph.nodes] == ["e", "c", "b", "d", "a"]


@pytest.mark.parametrize(
    "text",
    [
        "workflow: [{name: backtest, type: backtest}]",
        "workflow: {phases: [{name: backtest, type: backtest}]}",
        "workflow: {type: multi_phase, phases: [{name: backtest, type: backtest}]}",
        "workflow: backtest",
        "workflow: {type: backtest}",
    ],
)
def test_a_single_phase_can_be_written_in_several_ways(tmp_path, text):
    path = tmp_path / "one.yaml"
    path.write_text("data: {file: walk.csv}\nstrategies: [{type: rsi}]\n" + text)
    (section,) = loaded(source=path).values()
    assert (section.name, section.type, section.strategies[0].name) == ("backtest", "backtest", "rsi")


def test_anchors_and_quoted_dates_are_read(tmp_path):
    path = tmp_path / "anchors.yaml"
    path.write_text(
        textwrap.dedent(
            """
            data: &data {file: walk.csv, start: "2001-01-01"}
            strategies: [{type: rsi}]
            workflow:
              - {name: a, type: backtest}
              - {name: b, type: backtest, data: {<<: *data, end: 2002-02-02}}
            """
        )
    )
    sections = loaded(source=path)
    assert sections["b"].data.start == sections["a"].data.start
    assert str(sections["b"].data.end) == "2002-02-02"


def test_equal_workflows_are_equal_texts():
    first = resolved_workflow(load_workflow(WORKFLOW)).json_text()
    reordered = dict(reversed(WORKFLOW.items())) | {"capital": 1000.0}
    assert resolved_workflow(load_workflow(reordered)).json_text() == first
