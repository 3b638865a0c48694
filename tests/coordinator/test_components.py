import sys

import numpy as np
import pytest
from admf.coordinator.simulation.components import find_strategy, source_hash
from admf.domain.errors import StrategyError, UnknownNameError
from admf.domain.strategies import STRATEGIES, strategy

PLAIN = """
import numpy as np

def above(close, level={level}):
    return np.where(close > level, 1.0, 0.0)
"""

DECORATED = """
import numpy as np
from admf import feature, strategy

@strategy(
    features={"mean": feature("sma", period="period")},
    parameters={"period": 5},
    space={"period": (3, 5, 8)},
    name="above_mean_of_file",
)
def above_mean(close, mean, size=1.0):
    "Long above the mean."
    return np.where(close > mean, size, 0.0)
"""


def backtest(kind, **parameters):
    strategies = [{"name": "own", "type": kind, "parameters": parameters}]
    return {"data": {"file": "walk.csv"}, "strategies": strategies, "workflow": "backtest"}


def first_targets(result):
    signals = result.phase("backtest").signals()
    return signals["target"].unique().tolist()


def test_a_registered_strategy_is_found_by_its_type():
    assert find_strategy("momentum", ()) is STRATEGIES.get("momentum")
    assert source_hash(find_strategy("momentum", ())) == ""


def test_a_decorated_function_is_found_by_its_name(coordinator, monkeypatch):
    monkeypatch.setattr(STRATEGIES, "_components", dict(STRATEGIES._components))

    @strategy(name="half_of_test", parameters={"size": 0.5})
    def half(close, size):
        return np.full(close.size, size)

    result = coordinator.execute_workflow(backtest("half_of_test"))
    assert first_targets(result) == [0.5]
    assert len(source_hash(half)) == 64


def test_a_plain_function_in_a_file_is_a_strategy_whose_defaults_are_parameters(coordinator, folder):
    (folder / "mine.py").write_text(PLAIN.format(level=100))
    found = find_strategy("mine.py:above", (folder,))
    assert (found.name, found.parameters) == ("above", {"level": 100})
    assert first_targets(coordinator.execute_workflow(backtest("mine.py:above", level=1e9))) == []
    assert first_targets(coordinator.execute_workflow(backtest("mine.py:above", level=0))) == [1.0]


def test_a_decorated_function_in_a_file_brings_its_features_and_space(coordinator, folder):
    (folder / "mine.py").write_text(DECORATED)
    workflow = backtest("mine.py:above_mean") | {"workflow": "optimization"}
    phase = coordinator.execute_workflow(workflow).phase("optimization")
    assert phase.trials()["own.period"].tolist() == [3, 5, 8]
    found = find_strategy("mine.py:above_mean", (folder,))
    assert found.description == "Long above the mean."
    assert find_strategy("above_mean_of_file", ()) is found


def test_a_changed_file_is_read_again_also_within_the_same_second(coordinator, folder):
    path = folder / "mine.py"
    hashes = set()
    for size in ("0.1", "0.2", "0.3"):
        path.write_text(f"def fixed(close):\n    return close * 0 + {size}\n")
        result = coordinator.execute_workflow(backtest("mine.py:fixed"))
        assert first_targets(result) == [float(size)]
        hashes.add(result.phase("backtest").head_hash)
    assert len(hashes) == 3
    assert not (folder / "__pycache__").exists()


def test_a_file_is_found_beside_the_workflow_before_the_current_folder(coordinator, folder):
    below = folder / "below"
    below.mkdir()
    for place, size in ((folder, 0.1), (below, 0.2)):
        (place / "mine.py").write_text(f"def fixed(close):\n    return close * 0 + {size}\n")
        (place / "run.yaml").write_text(
            "{workflow: backtest, data: {file: walk.csv}, strategies: [{type: 'mine.py:fixed'}]}"
        )
    assert first_targets(coordinator.execute_workflow("below/run.yaml")) == [0.2]
    (below / "mine.py").unlink()
    assert first_targets(coordinator.execute_workflow("below/run.yaml")) == [0.1]


@pytest.fixture
def installed(folder, monkeypatch):
    """An installed package that offers three strategies; one can't be loaded."""
    site = folder / "site"
    dist = site / "admf_demo-1.0.dist-info"
    dist.mkdir(parents=True)
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: admf-demo\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text(
        "[admf.strategies]\n"
        "demo_plain = admf_demo_of_test:above\n"
        "demo_decorated = admf_demo_of_test:above_mean\n"
        "demo_broken = admf_demo_of_test:missing\n"
    )
    text = PLAIN.format(level=0) + DECORATED.replace("above_mean_of_file", "above_mean_of_package")
    (site / "admf_demo_of_test.py").write_text(text)
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("admf_demo_of_test", None)


def test_an_installed_package_offers_strategies_through_entry_points(coordinator, installed):
    assert first_targets(coordinator.execute_workflow(backtest("demo_plain"))) == [1.0]
    result = coordinator.execute_workflow(backtest("demo_decorated", period=2, size=0.25))
    assert first_targets(result) == [0.25, 0.0]
    assert len(source_hash(find_strategy("demo_plain", ()))) == 64


def test_a_strategy_of_a_package_that_cannot_be_loaded_is_named(coordinator, installed):
    with pytest.raises(StrategyError, match=r"'demo_broken'.*admf_demo_of_test:missing.*AttributeError"):
        coordinator.execute_workflow(backtest("demo_broken"))
    assert coordinator.workspace.store.last_position() == 0


def test_the_nearest_match_may_be_that_of_a_package(installed):
    with pytest.raises(UnknownNameError, match="Did you mean demo_plain"):
        find_strategy("demo_plan", ())
