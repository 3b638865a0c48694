"""The shape of the house: who may import whom, what is packaged, and how large things may grow."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LADDER = ("configs", "domain", "eventstore", "projections", "coordinator")
ROOMS = (
    "configuration",
    "market",
    "streams",
    "simulation",
    "phases",
    "workflows",
    "running",
    "audit",
    "monitoring",
    "",  # the modules beside the rooms
    "reporting",
    "commands",
)
SOURCES = sorted(path for layer in LADDER for path in (ROOT / layer).rglob("*.py"))
PURE = {
    "time",
    "random",
    "datetime",
    "secrets",
    "uuid",
    "socket",
    "logging",
    "sqlite3",
    "duckdb",
    "subprocess",
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported_layers(path: Path) -> set[str]:
    layers = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.relative_to(ROOT).parts[:-1]
            base = folder[: len(folder) - node.level + 1]
            target = (*base, *(node.module or "").split("."))
            names = [alias.name for alias in node.names] if target == ("",) or not target[0] else [target[0]]
            layers.update(name for name in names if name in LADDER)
    return layers


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_point_downward_only(path: Path) -> None:
    own = LADDER.index(path.relative_to(ROOT).parts[0])
    upward = {layer for layer in imported_layers(path) if LADDER.index(layer) > own}
    assert not upward, f"{relative(path)} imports upward, from {', '.join(sorted(upward))}"


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms of the coordinator that are needed when a module is imported."""
    room, rooms = path.relative_to(ROOT).parts[1:-1], set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and 0 < node.level <= len(room) + 1:
            target = (*room[: len(room) - node.level + 1], *(node.module or "").split("."))
            rooms.add(target[0] if target[0] in ROOMS else "")
    return rooms


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "coordinator")], ids=relative)
def test_rooms_of_the_coordinator_import_downward_only(path: Path) -> None:
    inside = path.relative_to(ROOT / "coordinator").parts
    own = len(ROOMS) if path.name == "cli.py" else ROOMS.index(inside[0] if len(inside) > 1 else "")
    upward = {room for room in imported_rooms(path) if ROOMS.index(room) > own}
    assert not upward, f"{relative(path)} imports upward, from {', '.join(sorted(upward))}"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "domain")], ids=relative)
def test_the_domain_touches_no_clock_chance_or_outside_world(path: Path) -> None:
    allowed = {"domain/bars.py": {"datetime"}, "domain/panel.py": {"datetime"}}
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add((node.module or "").partition(".")[0])
    assert not (modules & PURE) - allowed.get(relative(path), set())


def test_the_declared_packages_are_the_folders_with_code() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"admf"} | {
        "admf." + relative(path.parent).replace("/", ".")
        for layer in LADDER
        for path in (ROOT / layer).rglob("__init__.py")
    }
    assert declared == found


def test_tests_are_not_a_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_modules_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400, f"{relative(path)} has {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node, clean=False)
            lines = (
                (node.end_lineno or 0) - node.lineno + 1 - (documented.count("\n") + 1 if documented else 0)
            )
            assert lines <= 70, f"{relative(path)}:{node.lineno} {node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_names_are_nouns_of_the_field(path: Path) -> None:
    banned = ("Manager", "Helper", "Util", "Utils", "Handler", "Processor")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            assert not node.name.endswith(banned), f"{relative(path)}: {node.name}"


def test_nothing_is_pickled() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert "pickle" not in names, relative(path)
            assert "multiprocessing" not in names, relative(path)
