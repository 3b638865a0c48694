"""What the documents show is executed."""

import doctest
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import admf
import pytest
from admf import Coordinator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(admf.__path__, "admf.")
    if name.split(".")[1] in ("domain", "eventstore", "projections", "coordinator")
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("name", ["admf", *MODULES])
def test_examples_in_docstrings_hold(name: str) -> None:
    failed, _ = doctest.testmod(import_module(name))
    assert failed == 0


def test_the_python_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, block in enumerate(blocks("python")):
        exec(compile(block, f"README.md, Python example {number + 1}", "exec"), {})
    shown = capsys.readouterr().out
    assert "out_of_sample" in shown
    assert "head hash" in shown


def test_the_yaml_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    examples = blocks("yaml")
    assert examples
    for text in examples:
        for file, code in re.findall(r"# (\w+\.py)\n(.*?)```", README, flags=re.DOTALL):
            (tmp_path / file).write_text(code)
        (tmp_path / "example.yaml").write_text(text)
        with Coordinator("memory://") as coordinator:
            assert coordinator.execute_workflow(tmp_path / "example.yaml").status == "completed"


def test_the_examples_of_workflows_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "workflows.md").read_text()
    statuses = []
    for example in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL):
        (tmp_path / "example.yaml").write_text(example)
        with Coordinator("memory://") as coordinator:
            result = coordinator.execute_workflow("example.yaml")
            statuses.append({name: phase.status for name, phase in result.phases.items()})
    names = ["training", "refine", "nasdaq", "confirm", "summary"]
    inner = [f"{name}.{phase}" for name in ("us", "tech") for phase in ("training", "out_of_sample")]
    assert statuses == [dict.fromkeys(names, "completed"), dict.fromkeys(inner, "completed")]


def test_relative_links_in_the_documents_lead_somewhere() -> None:
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
