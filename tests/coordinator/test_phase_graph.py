"""The graph of a workflow, before anything is run: what depends on what, and what refers to what."""

import pytest
import yaml
from admf.coordinator.configuration.references import output_values, renamed, resolved
from admf.coordinator.configuration.sections import RepeatSection
from admf.coordinator.workflows.loading import load_workflow, resolved_workflow
from admf.coordinator.workflows.phase_graph import loop_end, phase_graph
from admf.domain.errors import ConfigurationError, UnknownNameError
from admf.domain.events import PhaseOutput, Trial

BEST = Trial(container=3, parameters={"cross.fast": 5, "kind": "a"}, metrics={"sharpe_ratio": 1.5})
OUTPUT = PhaseOutput(
    objective="sharpe_ratio", direction="maximize", best=BEST, metrics={"trades": 9.0}, trials=4
)
VALUES = {f"training.{path}": value for path, value in output_values(OUTPUT).items()}


def phase(name, *before, **more):
    return {"name": name, "type": "backtest", "depends_on": list(before), **more}


def node(*phases):
    return phase_graph(phases).nodes[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${training.best.parameters}", {"cross.fast": 5, "kind": "a"}),
        ("${ training.best.parameters.cross.fast }", 5),
        ("${training.best.sharpe_ratio}", 1.5),
        ("${training.best.metrics.sharpe_ratio}", 1.5),
        ("${training.metrics.trades}", 9.0),
        ("${training.trials // 3}", 1),
        ("${training.best.parameters.cross.fast * 2}", 10),
        ("at ${training.best.parameters.kind}, ${training.trials}", "at a, 4"),
        ("${training.best.parameters.none:-7}", 7),
        ("${training.best.none + 1:-[1, 2]}", [1, 2]),
        ("no reference", "no reference"),
        ({"a": ["${training.trials}", 1]}, {"a": [4, 1]}),
    ],
)
def test_a_reference_becomes_the_value_that_it_leads_to(text, expected):
    assert resolved(text, VALUES, "here") == expected


def test_a_wrong_path_is_refused_with_the_nearest_match():
    with pytest.raises(UnknownNameError, match=r"^here.a\[1\]: unknown value 'training.best.sharp_"):
        resolved({"a": [1, "${training.best.sharp_ratio}"]}, VALUES, "here")
    with pytest.raises(UnknownNameError, match=r"Did you mean training\.best\.sharpe_ratio"):
        resolved("${training.best.sharpe_ration * 2}", VALUES, "here")
    with pytest.raises(ConfigurationError, match=r"^here: \$\{\} must name a value"):
        resolved("${}", VALUES, "here")


def test_what_is_not_known_yet_is_left_out_with_the_list_or_mapping_that_held_nothing_else():
    written = {
        "a": "${previous.trials}",
        "b": ["${previous.trials}", 1],
        "c": {"d": ["${previous.trials + 1}"]},
    }
    assert resolved(written, {}, "here", ["previous"]) == {"b": [1]}
    assert resolved({"a": "${previous.trials:-3}"}, {}, "here", ["previous"]) == {"a": 3}


def test_a_phase_depends_on_what_it_refers_to():
    found = node(
        phase("a"),
        phase("b-c"),
        phase("d"),
        phase("e"),
        phase("f", "a", capital="${b-c.trials}", when="d.trials > 1", inherit_best_from="e"),
    )
    assert found.before == ("a", "e", "b-c", "d")
    assert found.reads == ("b-c", "d")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"capital": "${aa.trials}"}, r"^workflow.phases\[1\].capital: unknown phase 'aa'. Did you mean a\?"),
        ({"capital": "${a.trial}"}, r"capital: unknown value 'a.trial'. Did you mean a.trials"),
        ({"data": {"file": "${a.trials}"}}, r"data.file: is needed before the first phase begins"),
        ({"when": "aa.trials > 1"}, r"^workflow.phases\[1\].when: unknown phase 'aa'"),
        ({"when": "a.trials >"}, r"^workflow.phases\[1\].when: 'a.trials >' is not an expression"),
        ({"capital": "${previous.trials}"}, "only a phase with `repeat` has a previous turn"),
        ({"capital": "${b.trials}"}, "b depend on each other in a circle"),
        ({"when": "b.trials > 1"}, "in a circle"),
        (
            {"repeat": {"max": 0}},
            r"^workflow.phases\[1\].repeat.max: input should be greater",
        ),
        ({"repeat": {"max": 2, "util": "trials > 1"}}, r"unknown key 'util'. Did you mean until"),
        ({"retries": -1}, r"retries: input should be"),
        ({"requires": "failed"}, r"requires: input should be 'completed' or 'ended'"),
    ],
)
def test_what_is_wrong_with_a_graph_is_found_before_it_runs(more, message):
    with pytest.raises(ConfigurationError, match=message):
        phase_graph([phase("a"), phase("b", **more)])


def test_the_name_of_the_turn_before_is_not_the_name_of_a_phase():
    with pytest.raises(ConfigurationError, match="'previous' stands for a loop's last turn"):
        phase_graph([phase("previous")])


def test_phases_can_begin_when_all_before_them_have_ended():
    graph = phase_graph([phase("a"), phase("b", "a"), phase("c", "a"), phase("d", "b", "c"), phase("e")])

    def ready(**outcomes):
        return [each.name for each in graph.ready(outcomes)]

    assert ready() == ["a", "e"]
    assert ready(a="completed") == ["b", "c", "e"]
    assert ready(a="completed", b="failed", c="skipped", e="reused") == ["d"]
    assert graph.obstacle(graph.nodes[3], {"b": "failed", "c": "skipped"}) == "b failed, c was skipped"
    assert graph.obstacle(graph.nodes[3], {"b": "completed", "c": "reused"}) == ""


@pytest.mark.parametrize(
    ("turn", "holds", "now", "before", "reason"),
    [
        (1, False, 1.0, None, ""),
        (1, True, 1.0, None, "until best.sharpe_ratio > 1"),
        (2, False, 1.0, 1.02, ""),
        (2, False, 1.0, 1.005, "converged: best.sharpe_ratio changed by 0.005, less than 0.01"),
        (2, False, float("nan"), 1.0, ""),
        (3, False, 1.0, 2.0, "all 3 turns were taken"),
    ],
)
def test_a_loop_ends_by_its_condition_by_convergence_or_at_its_maximum(turn, holds, now, before, reason):
    repeat = RepeatSection(until="best.sharpe_ratio > 1", max=3, tolerance=0.01)
    assert loop_end(repeat, turn, holds, now, before) == reason


def test_renaming_reaches_references_and_leaves_other_texts():
    written = {"a": "${in.best.x} and in.best", "b": ["${in.trials // other.in.trials}"], "c": 3}
    expected = {"a": "${out.in.best.x} and in.best", "b": ["${out.in.trials // other.in.trials}"], "c": 3}
    assert renamed(written, {"in": "out.in"}) == expected


SUB = {
    "name": "outer",
    "data": {"file": "sp500.csv"},
    "workflow": [
        phase("before", strategies=[{"type": "rsi"}]),
        {
            "name": "inner",
            "type": "workflow",
            "workflow": "train_test",
            "capital": 5,
            "depends_on": ["before"],
            "when": "before.trials > 0",
            "retries": 2,
        },
        phase("after", "inner", inherit_best_from="inner"),
    ],
}


def test_a_workflow_in_a_workflow_becomes_its_phases():
    workflow = load_workflow(SUB, ["inner.training.data.end=2001-01-01"])
    nodes = {each.name: each for each in workflow.graph.nodes}
    assert {name: each.before for name, each in nodes.items()} == {
        "before": (),
        "inner.training": ("before",),
        "inner.out_of_sample": ("inner.training",),
        "after": ("inner.out_of_sample",),
    }
    assert [each.course.when for each in nodes.values()] == ["", "before.trials > 0", "", ""]
    assert [each.course.retries for each in nodes.values()] == [0, 2, 2, 0]
    sections = {section.name: section for section in resolved_workflow(workflow).phases}
    assert [section.capital for section in sections.values()] == [100_000, 5, 5, 5]
    assert str(sections["inner.training"].data.end) == "2001-01-01"
    assert sections["inner.out_of_sample"].execution.slippage.bps == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"repeat": {"max": 2}}, "it can't be repeated as a whole"),
        ({"workflow": ["a"]}, "has a name, and a file or template as `workflow`"),
    ],
)
def test_what_cannot_be_a_workflow_in_a_workflow_is_refused(more, message):
    before, inner, after = SUB["workflow"]
    with pytest.raises(ConfigurationError, match=message):
        load_workflow({**SUB, "workflow": [before, inner | more, after]})


def test_references_name_the_phases_of_their_own_workflow(folder):
    inner = {"workflow": [phase("before"), phase("then", capital="${before.trials}")]}
    (folder / "inner.yaml").write_text(yaml.safe_dump(inner))
    settings = {"shard_size": "${before.trials}", "when": "before.trials > 1"}
    outer = {"name": "sub", "type": "workflow", "workflow": "inner.yaml", **settings}
    workflow = load_workflow({"workflow": [phase("before"), outer]})
    _, first, then = workflow.graph.nodes
    assert (first.before, first.course.when) == (("before",), "before.trials > 1")
    assert (then.name, then.before) == ("sub.then", ("before", "sub.before"))
    assert (then.work["shard_size"], then.work["capital"]) == ("${before.trials}", "${sub.before.trials}")


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([{"type": "backtest"}], r"workflow.phases\[0\].workflow: a phase of inner.yaml has no name"),
        ([{"name": "a", "depends_on": "b"}], "phase 'a': depends_on must be a list of names, was 'b'"),
    ],
)
def test_what_is_wrong_in_an_inner_workflow_is_refused(folder, phases, message):
    (folder / "inner.yaml").write_text(yaml.safe_dump({"workflow": phases}))
    with pytest.raises(ConfigurationError, match=message):
        load_workflow({"workflow": [{"name": "sub", "type": "workflow", "workflow": "inner.yaml"}]})


def test_a_workflow_that_is_part_of_itself_is_refused(folder):
    (folder / "own.yaml").write_text("workflow: [{name: again, type: workflow, workflow: own.yaml}]")
    with pytest.raises(ConfigurationError, match="is one part of itself"):
        load_workflow("own.yaml")
