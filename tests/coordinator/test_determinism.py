import json
import os
import subprocess
import sys

import pytest
from admf import Coordinator

SCRIPT = """
import json, sys
import admf
result = admf.run(json.load(sys.stdin), store="memory://")
print(json.dumps({name: phase.head_hash for name, phase in result.phases.items()}))
"""

STRATEGY = """
import numpy as np

def dip(close, depth=0.99):
    return np.where(close < depth * np.roll(close, 1), 1.0, 0.0)
"""


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [reversed_keys(item) for item in value]
    return value


@pytest.fixture
def train_and_test(train_and_test):
    return {**train_and_test, "cache": False}


@pytest.fixture
def expected(coordinator, train_and_test, heads):
    return heads(coordinator.execute_workflow(train_and_test))


def test_a_second_run_ends_with_the_same_hashes(coordinator, train_and_test, heads, expected):
    result = coordinator.execute_workflow(train_and_test)
    trials = list(coordinator.workspace.store.read(f"{result.run}/training", topics=["TrialsCompleted"]))
    assert len(trials) == 4
    assert heads(result) == expected
    assert all(len(value) == 64 for value in expected.values())
    assert len(set(expected.values())) == 2


def test_two_workers_end_with_the_same_hashes_as_one_process(pooled, train_and_test, heads, expected):
    assert heads(pooled.execute_workflow(train_and_test)) == expected


def test_another_process_with_another_hash_seed_ends_with_the_same_hashes(train_and_test, expected):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": seed},
            text=True,
        )
        for seed in ("0", "4711")
    ]
    outputs = [process.communicate(json.dumps(train_and_test))[0] for process in processes]
    assert [json.loads(output) for output in outputs] == [expected, expected]


def test_the_order_of_keys_does_not_matter(coordinator, train_and_test, heads, expected):
    assert heads(coordinator.execute_workflow(reversed_keys(train_and_test))) == expected


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_every_store_ends_with_the_same_hashes(kind, request, folder, train_and_test, heads, expected):
    url = folder / "store" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    with Coordinator(url) as opened:
        assert heads(opened.execute_workflow(train_and_test)) == expected


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ("training.optimization.parameters.cross.fast=[3, 5, 9]", {"training"}),
        ("execution.commission.percent=0.2", {"training", "out_of_sample"}),
        ("execution.slippage.bps=2.5", {"training", "out_of_sample"}),
        ("capital=100001", {"training", "out_of_sample"}),
        ("out_of_sample.data.start=2000-08-02", {"out_of_sample"}),
        ("name=another", set()),
    ],
)
def test_whatever_changes_the_outcome_changes_the_hashes(
    coordinator, train_and_test, heads, expected, change, differs
):
    changed = heads(coordinator.execute_workflow(train_and_test, [change]))
    assert {name for name in expected if changed[name] != expected[name]} == differs


def test_a_changed_bar_changes_the_hashes(coordinator, folder, train_and_test, heads, expected):
    path = folder / "walk.csv"
    lines = path.read_text().splitlines()
    lines[5] = lines[5].removesuffix("1000") + "1001"
    path.write_text("\n".join(lines))
    changed = heads(coordinator.execute_workflow(train_and_test))
    assert all(changed[name] != expected[name] for name in expected)


def test_a_changed_strategy_file_changes_the_hash(coordinator, folder, heads):
    workflow = {"workflow": "backtest", "strategy": "mine.py:dip", "data_file": "walk.csv"}
    hashes = []
    for text in (STRATEGY, STRATEGY, STRATEGY + "# a comment\n"):
        (folder / "mine.py").write_text(text)
        hashes.append(heads(coordinator.execute_workflow(workflow, cache=False))["backtest"])
    assert hashes[0] == hashes[1] != hashes[2]
