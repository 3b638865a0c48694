import re
from pathlib import Path

import pytest
from admf.coordinator.configuration.analysis_sections import (
    AnalysisSection,
    PatternsSection,
    ResamplingSection,
    TolerableSection,
)
from admf.coordinator.configuration.classifier_section import ClassifierSection, FitSection
from admf.coordinator.configuration.convergence_section import ConvergenceSection
from admf.coordinator.configuration.data_section import FileSection
from admf.coordinator.configuration.ensemble_section import EnsembleSection
from admf.coordinator.configuration.reading import read_section
from admf.coordinator.configuration.sections import (
    CommissionSection,
    DataSection,
    ExecutionSection,
    LimitsSection,
    MarginSection,
    MetricsSection,
    ObjectiveSection,
    OptimizationSection,
    PhaseSection,
    RangeSection,
    RepeatSection,
    RiskSection,
    SizerSection,
    SlippageSection,
    StopSection,
    StrategySection,
    WorkflowSection,
)
from admf.coordinator.configuration.validation_sections import CrossValidationSection, WalkForwardSection
from admf.coordinator.workflows.loading import SHARED, load_workflow, resolved_workflow
from admf.domain.errors import ConfigurationError, UnknownNameError

DOCUMENT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
_, EXAMPLE, PAIR = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
SECTIONS = {
    "A phase": PhaseSection,
    "`repeat`": RepeatSection,
    "`data`": DataSection,
    "`data.files.<symbol>`": FileSection,
    "`execution`": ExecutionSection,
    "`execution.commission`": CommissionSection,
    "`execution.slippage`": SlippageSection,
    "`execution.margin`": MarginSection,
    "`strategies[]`": StrategySection,
    "`risk`": RiskSection,
    "`risk.limits`": LimitsSection,
    "`risk.position_sizers[]`": SizerSection,
    "`optimization`": OptimizationSection,
    "`optimization.parameters`, a range": RangeSection,
    "`optimization.objectives[]`": ObjectiveSection,
    "`optimization.stop`": StopSection,
    "`walk_forward`": WalkForwardSection,
    "`cross_validation`": CrossValidationSection,
    "`analysis`": AnalysisSection,
    "`monte_carlo`": ResamplingSection,
    "`limits`": TolerableSection,
    "`patterns`": PatternsSection,
    "`classifier`": ClassifierSection,
    "`convergence`": ConvergenceSection,
    "`classifier.fit`": FitSection,
    "`ensemble`": EnsembleSection,
    "`metrics`": MetricsSection,
}


def documented(title):
    """Rows of the table below a heading: key, default, meaning."""
    text = DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line[:1] == "|"
    ]
    return rows[2:]


def written(field):
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return "none"
    if value == ():
        return "`[]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if hasattr(value, "model_dump") or value == {}:
        return "`{}`"
    return "`" + (value if isinstance(value, str) and value else repr(value).replace("'", '"')) + "`"


@pytest.mark.parametrize(("title", "model"), SECTIONS.items())
def test_every_key_is_documented_with_its_default(title, model):
    expected = [[f"`{name}`", written(field)] for name, field in model.model_fields.items()]
    rows = documented(title)
    assert [row[:2] for row in rows] == expected
    assert all(row[2].strip(" |") for row in rows)


def test_the_keys_of_a_workflow_are_documented():
    keys = {row[0].strip("`") for row in documented("The workflow")}
    assert keys == {"workflow", "strategy", "data_file"} | set(WorkflowSection.model_fields) - {"phases"}
    sentence = DOCUMENT.partition("may stand\nbeside `workflow`")[0].rpartition("\n\n")[2]
    assert re.findall(r"`(\w+)`", sentence) == list(SHARED)


def test_the_documented_example_runs(coordinator, folder):
    (folder / "example.yaml").write_text(EXAMPLE)
    result = coordinator.execute_workflow("example.yaml")
    names = "search out_of_sample luck regimes risk winners together views stops folds groups refine further"
    assert list(result.phases) == names.split()
    assert len(result.phase("search").trials()) == 10
    assert len(result.phase("folds").output.folds) == 5


def test_the_documented_example_of_several_symbols_runs(coordinator, folder):
    (folder / "pair.yaml").write_text(PAIR)
    fills = coordinator.execute_workflow("pair.yaml").phase("backtest").fills()
    assert set(fills["symbol"]) == {"IXIC", "SPX"}


def keys_of(value):
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def test_the_documented_example_shows_almost_every_key(folder):
    shown = set()
    for text in (EXAMPLE, PAIR):
        (folder / "example.yaml").write_text(text)
        workflow = load_workflow("example.yaml")
        shown |= keys_of([*workflow.phases, workflow.shared])
    known = {name for model in SECTIONS.values() for name in model.model_fields}
    assert known - shown == {
        *("size", "units", "lot", "period", "resample", "calendar", "states"),
        *("more_signals_from", "weights", "members"),
    }


def test_a_section_survives_its_own_text(folder):
    (folder / "example.yaml").write_text(EXAMPLE)
    for section in resolved_workflow(load_workflow("example.yaml")).phases:
        again = PhaseSection.model_validate_json(section.json_text())
        assert again == section
        assert again.json_text() == section.json_text()


def test_an_error_names_the_path_the_value_and_the_nearest_key():
    raw = {"name": "a", "type": "backtest", "strategies": [{"type": "rsi"}, {"type": "rsi", "weigth": 1}]}
    with pytest.raises(UnknownNameError) as caught:
        read_section(PhaseSection, raw, "workflow.phases[3]")
    assert str(caught.value) == (
        "workflow.phases[3].strategies[1].weigth: unknown key 'weigth'. Did you mean weight or weights?"
    )
    with pytest.raises(ConfigurationError) as caught:
        read_section(DataSection, {"file": "a.csv", "start": "soon"}, "data")
    assert str(caught.value).startswith("data.start: input should be a valid date")
    assert str(caught.value).endswith("was 'soon'.")
    with pytest.raises(ConfigurationError, match=r"^capital: input should be greater than 0, was -1\.$"):
        read_section(PhaseSection, {"name": "a", "type": "backtest", "capital": -1}, "")


def test_sections_cannot_be_changed():
    section = DataSection(file="a.csv")
    with pytest.raises(ValueError, match="frozen"):
        section.file = "b.csv"
