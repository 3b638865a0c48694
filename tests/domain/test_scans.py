"""Scans over bars, and the changes of targets that they find, against going through bar by bar."""

import numpy as np
from admf.domain.scans import WORD, changed, next_above
from admf.domain.targets import write_changes
from hypothesis import given, settings
from hypothesis import strategies as st

levels = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, np.nan])
stretches = st.lists(st.tuples(levels, st.integers(1, 150)), min_size=1, max_size=8)


def series(stretches):
    return np.repeat([value for value, _ in stretches], [length for _, length in stretches])


def first(holds, t):
    return next((bar for bar in range(t, holds.size) if holds[bar]), holds.size)


@settings(deadline=None)
@given(one=stretches, other=stretches, start=st.integers(0, 200))
def test_scans_find_the_first_bar_at_which_it_holds(one, other, start):
    values, others = series(one), series(other)
    size = min(values.size, others.size)
    values, others, start = values[:size], others[:size], min(start, size)
    assert next_above(values, others, start) == first(values > others, start)


@settings(deadline=None)
@given(wished=stretches, start=st.integers(1, 100))
def test_a_bit_tells_of_each_bar_whether_its_value_changes(wished, start):
    values = np.append(series(wished), np.zeros(start + WORD))
    these, before = values[start : start + WORD], values[start - 1 : start - 1 + WORD]
    bits = [bit == "1" for bit in reversed(f"{int(changed(values, start)):0{WORD}b}")]
    assert bits == [str(one) != str(other) for one, other in zip(these, before, strict=True)]


def changes_bar_by_bar(targets, window, bounds):
    held = last = 0.0
    found = []
    for bar in range(window[1]):
        if not np.isnan(targets[bar]):
            held = min(max(targets[bar], bounds[0]), bounds[1])
        if bar >= window[0] and held != last:
            found.append((bar, held))
            last = held
    return found


@settings(deadline=None)
@given(
    wished=stretches,
    ends=st.tuples(st.integers(0, 300), st.integers(0, 300)).map(sorted),
    bounds=st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (-0.5, 0.0)]),
)
def test_changes_are_those_met_bar_by_bar(wished, ends, bounds):
    targets = series(wished)
    window = min(ends[0], targets.size), min(ends[1], targets.size)
    bar, target = np.empty(targets.size, np.int32), np.empty(targets.size)
    rows, wrong = write_changes(targets, window, bounds, bar, target, 0)
    assert wrong == -1
    assert list(zip(bar[:rows], target[:rows], strict=True)) == changes_bar_by_bar(targets, window, bounds)


def test_a_target_out_of_range_is_named_by_its_bar():
    targets = np.full(200, np.nan)
    targets[[3, 150]] = 1.0, 1.5
    bar, target = np.empty(200, np.int32), np.empty(200)
    assert write_changes(targets, (0, 200), (-1.0, 1.0), bar, target, 0)[1] == 150
