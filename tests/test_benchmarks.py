"""The benchmark compares before it measures."""

import sys
from pathlib import Path

import numpy as np
import pytest
from admf.benchmarks import report
from admf.benchmarks.agreement import difference
from admf.benchmarks.measuring import Engine, Measured, kernel, ours, peer, ratio, take_turns
from admf.benchmarks.peers.protocol import Outcome, outcome_of_fills
from admf.benchmarks.plan import OURS, log_bars, stops
from admf.benchmarks.sessions import Answer
from admf.benchmarks.workloads import SMALL, Grid, Workload

ROOT = Path(__file__).parent.parent
SWEEP = Workload("sweep", 400, True, Grid(range(5, 8), range(12, 15)))
SINGLE = Workload("single", 3_000, False, Grid(range(10, 11), range(30, 31)))


def turns(workload: Workload, folder: Path, *others: Engine) -> dict[str, Measured]:
    reference = ours(OURS, folder / "stores", rounds=1, workers="1")
    return take_turns(workload, [reference, *others], folder)


def outcome() -> Outcome:
    fills = [(0, 3, 100.0, 10.5), (0, 7, -100.0, 11.25), (1, 4, 100.0, 12.0)]
    return outcome_of_fills([1_000_075.0, 999_990.0], [1, 0], fills)


def test_the_bare_kernel_and_two_workers_do_what_the_engine_does(tmp_path: Path) -> None:
    two = ours("two", tmp_path / "stores", rounds=1, workers="2")._replace(reference=OURS)
    found = turns(SWEEP, tmp_path, kernel(1, OURS, 1), kernel(2, OURS, 1), two)
    assert found[OURS].answer.fills >= 2 * found[OURS].answer.trades > 0
    for one in found.values():
        assert one.difference == ""
        assert one.answer.trades == found[OURS].answer.trades
        assert len(one.seconds) == 1
        assert ratio(found[OURS], one) is not None


def test_the_sweep_with_stops_and_two_symbols_runs(tmp_path: Path) -> None:
    bar, table = stops(SMALL._replace(daily=SWEEP), tmp_path)
    assert bar.met is not None
    assert table.rows[0][:2] == ("9", "0.1 million")


def test_stored_rows_are_signals_orders_and_fills(tmp_path: Path) -> None:
    one = turns(SWEEP, tmp_path)[OURS]
    assert 3 * one.answer.fills <= one.figures["logical_rows"] <= 3 * one.answer.fills + len(SWEEP.grid) * 2
    assert 0 < one.figures["logical_bytes"] < one.figures["stored_bytes"]


def test_an_engine_that_fills_elsewhere_is_neither_timed_again_nor_given_a_ratio(tmp_path: Path) -> None:
    other = ours("same close", tmp_path / "stores", fill="same_close", rounds=1, workers="1")
    found = turns(SINGLE, tmp_path, other._replace(reference=OURS))
    assert "fill 0 is +100 at" in found["same close"].difference
    assert found["same close"].seconds == [found["same close"].answer.seconds]
    assert ratio(found[OURS], found["same close"]) is None
    row = report.timing_table("", found, OURS).rows[1]
    assert row[1:5] == ("-",) * 4


def test_a_peer_that_fails_says_why_and_ends_nothing_else(tmp_path: Path) -> None:
    broken = Engine("broken", (sys.executable, "-c", "raise SystemExit('no such peer')"), reference=OURS)
    found = turns(SINGLE, tmp_path, broken)
    assert found["broken"].difference == "failed: no such peer"
    assert found[OURS].difference == ""


@pytest.mark.parametrize("workload", [SWEEP, SINGLE], ids=lambda workload: workload.name)
def test_backtesting_py_agrees_through_its_script(workload: Workload, tmp_path: Path) -> None:
    pytest.importorskip("backtesting", reason="install it with pip install 'admf[peers]'")
    script = peer("backtesting.py", Path(sys.executable), "with_backtesting.py", OURS, rounds=0)
    found = turns(workload, tmp_path, script)
    assert found["backtesting.py"].difference == ""
    assert found["backtesting.py"].answer.trades == found[OURS].answer.trades


def test_equal_outcomes_agree_and_each_change_is_found() -> None:
    same = outcome()
    assert difference(same, outcome()) == ""
    changes = {
        "closed 1 trades here, 2 there": same._replace(closed=np.array([2, 0])),
        "3 fills here, 2 there": outcome_of_fills([1_000_075.0, 999_990.0], [1, 0], [(0, 3, 100, 10.5)] * 2),
        "on bar 8": same._replace(bar=np.array([3, 8, 4], np.int32)),
        "-101 at": same._replace(quantity=np.array([100.0, -101.0, 100.0])),
        "at 12.0000001": same._replace(price=np.array([10.5, 11.25, 12.0000001])),
        "of combination 0": same._replace(combination=np.array([0, 0, 0], np.int32)),
        "combination 1 ended with": same._replace(equity=np.array([1_000_075.0, 999_990.01])),
        "nan": same._replace(equity=np.array([np.nan, 999_990.0])),
        "2 combinations here, 1 there": outcome_of_fills([1_000_075.0], [1], []),
    }
    for text, changed in changes.items():
        assert text in difference(same, changed)


def test_rounded_fees_are_allowed_half_a_cent_for_each_fill_and_no_more() -> None:
    same = outcome()
    two_fills, one_fill = (same._replace(equity=same.equity + np.eye(2)[row] * 0.0099) for row in (0, 1))
    assert difference(same, two_fills, fee_rounding=0.005) == ""
    assert difference(same, one_fill, fee_rounding=0.005) != ""


def measured(name: str, *seconds: float, difference: str = "") -> Measured:
    return Measured(name, list(seconds), Answer(seconds[0], 1.0, {}), 1.0, difference, {})


def test_a_ratio_is_that_of_medians() -> None:
    assert ratio(measured("ours", 1.0, 2.0, 9.0), measured("theirs", 8.0, 1.0, 9.0)) == 4.0


def test_the_log_costs_what_the_full_one_takes_longer_with_as_many_workers() -> None:
    names = (OURS, "admf, metrics only")
    work = {name: measured(name, seconds) for name, seconds in zip(names, (1.2, 1.0), strict=True)}
    bars = {bar.work: bar for bar in log_bars({"daily": work, "minute": work, "single": work})}
    assert bars["cost of the log, daily"].measured.startswith("+20%, +200 ms")
    assert bars["cost of the log, daily"].met
    assert not bars["cost of the log, minute"].met


def test_only_what_lies_between_the_marks_of_the_document_is_replaced() -> None:
    document = (ROOT / "docs" / "benchmarks.md").read_text()
    once = report.replaced(document, "new")
    assert once.startswith("# Benchmarks")
    assert once.split(report.BEGIN)[1] == f"\n\nnew\n\n{report.END}{document.split(report.END)[1]}"
    assert once.split(report.BEGIN)[0] == document.split(report.BEGIN)[0]
    assert report.replaced(once, "new") == once
    with pytest.raises(ValueError, match="the marks"):
        report.replaced("# Benchmarks", "new")
