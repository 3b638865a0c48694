import numpy as np
import pytest
from admf.domain.gradient import ascent
from admf.domain.search_space import Range, axes_of, columns_of


def climbed(space, height, count, seed=0):
    """The first `count` points of an ascent, and their heights."""
    axes = axes_of(space)
    search = ascent(axes, np.random.default_rng(seed))
    points, wanted = [], next(search)
    while len(points) < count:
        rows = [
            {name: column[row] for name, column in columns_of(axes, wanted).items()}
            for row in range(len(wanted))
        ]
        points += [(row, height(**row)) for row in rows]
        wanted = search.send([height for _, height in points[-len(wanted) :]])
    return points[:count]


def best(points):
    return max(points, key=lambda point: point[1])[0]


def test_it_finds_the_top_of_a_smooth_hill_with_different_scales():
    found = best(
        climbed(
            {"a": Range(-10.0, 10.0), "b": Range(0.001, 100.0, log=True)},
            lambda a, b: -((a - 3.3) ** 2) - (np.log10(b) - 0.7) ** 2,
            200,
        )
    )
    assert found["a"] == pytest.approx(3.3, abs=0.05)
    assert np.log10(found["b"]) == pytest.approx(0.7, abs=0.02)


def test_whole_numbers_are_simulated_as_such_and_their_top_is_found():
    points = climbed(
        {"n": Range(2, 200), "m": [1, 5, 20, 80]}, lambda n, m: -abs(n - 143) - 10 * abs(m - 20), 150
    )
    assert all(row["n"] == int(row["n"]) for row, _ in points)
    assert best(points) == {"n": 143, "m": 20}


def test_points_without_a_value_are_avoided():
    points = climbed({"a": Range(0.0, 1.0)}, lambda a: -np.inf if a > 0.8 else a, 60)
    assert best(points)["a"] == pytest.approx(0.8, abs=0.01)


def test_it_starts_in_the_middle_and_elsewhere_when_it_has_arrived():
    points = climbed({"a": Range(0.0, 1.0)}, lambda a: 0.0 * a, 40)
    assert points[0][0]["a"] == 0.5
    assert len({round(float(row["a"]), 6) for row, _ in points}) > 5


def test_the_second_of_two_hills_is_found_from_another_start():
    hills = lambda a: max(1.0 - 50 * abs(a - 0.55), 3.0 - 20 * abs(a - 0.05))  # noqa: E731
    assert best(climbed({"a": Range(0.0, 1.0)}, hills, 300))["a"] == pytest.approx(0.05, abs=0.01)
