from importlib import import_module

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from pipeline_lib.select import SELECTORS
from pipeline_lib.select.k_center import greedy_centres, k_center
from pipeline_lib.select.typicality import typicality

POINTS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


def test_centres_are_those_of_the_greedy_rule() -> None:
    apart = cdist(POINTS, POINTS)
    expected = [int(np.linalg.norm(POINTS - POINTS.mean(axis=0), axis=1).argmin())]
    while len(expected) < 12:
        expected.append(int(apart[:, expected].min(axis=1).argmax()))
    found, radius = greedy_centres(POINTS, 12, lambda: None)
    assert found == expected
    assert radius == pytest.approx(apart[:, expected].min(axis=1).max(), rel=1e-5)


def test_the_radius_is_at_most_twice_that_of_any_choice() -> None:
    chosen = SELECTORS["k_center"](POINTS, POINTS, 8, 0)
    apart = cdist(POINTS, POINTS)
    rng = np.random.default_rng(0)
    best = min(apart[:, rng.choice(60, 8, replace=False)].min(axis=1).max() for _ in range(2000))
    assert chosen.metrics["covering_radius"] <= 2 * best
    assert chosen.metrics["covering_radius"] == pytest.approx(apart[:, chosen.rows].min(axis=1).max(), rel=1e-5)


def test_a_large_source_is_chosen_from_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module(k_center.__module__), "PART", 25)
    chosen = SELECTORS["k_center"](POINTS, POINTS, 13, 0)
    assert len(chosen.rows) == 13 and chosen.metrics["parts"] == 3
    few = SELECTORS["k_center"](POINTS, POINTS, 2, 0)
    assert len(few.rows) == 2 and np.isfinite(few.metrics["covering_radius"])


def test_typical_images_lie_in_the_densest_part_of_their_cluster() -> None:
    rng = np.random.default_rng(0)
    dense, loose = rng.normal(scale=0.1, size=(40, 2)), rng.normal(scale=2, size=(40, 2))
    points = np.concatenate([dense, loose, 100 + dense, 100 + loose]).astype(np.float32)
    chosen = SELECTORS["typicality"](points, points, 20, 0, max_clusters=2)
    assert chosen.metrics["num_clusters"] == 2
    assert (chosen.rows % 80 < 40).all() and (chosen.rows < 80).sum() == 10


def test_typicality_is_by_the_mean_distance_to_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two equal clusters far apart, in each of which the order is known.
    points = np.concatenate([POINTS, POINTS + 1000]).astype(np.float32)
    mean = np.sort(cdist(POINTS, POINTS), axis=1)[:, 1:6].mean(axis=1)
    chosen = SELECTORS["typicality"](points, points, 10, 0, neighbors=5, max_clusters=2)
    assert set(chosen.rows[:5]) == set(np.argsort(mean)[:5])
    monkeypatch.setattr(import_module(typicality.__module__), "MOST", 20)
    assert len(SELECTORS["typicality"](points, points, 10, 0, max_clusters=2).rows) == 10
