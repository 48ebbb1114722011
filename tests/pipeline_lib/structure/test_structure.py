from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from pipeline_lib.structure import CLUSTERERS, PROJECTIONS, RANDOM
from pipeline_lib.structure.structure import MIN_IMAGES, Structure, structure
from tests.pipeline_lib.structure.toy import CPU, blobs

SPACES = ("features", "umap")


def found_in(features: dict[str, list[np.ndarray]], **changes: Any) -> Structure:
    settings: dict[str, Any] = {"num_clusters": 3, "neighbors": 10, "umap_dims": 4, "restarts": 1, "seed": 0}
    return structure(features, device=CPU, **{**settings, **changes})


@pytest.fixture(scope="module")
def found() -> Structure:
    """Of one representation without and one with two trainings, the second of which is noise."""
    x, _ = blobs()
    noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    return found_in({"one": [x], "two": [x[:, :4], noise]}, restarts=2)


def test_there_is_a_row_for_everything(found: Structure) -> None:
    assert list(found.layouts) == [(name, method) for name in ("one", "two") for method in PROJECTIONS]
    assert [(row["representation"], row["method"]) for row in found.projection_rows] == list(found.layouts)
    assert [(row["representation"], row["space"], row["clusterer"]) for row in found.cluster_rows] == list(
        found.clusters
    )
    assert set(found.clusters) == {(n, s, c) for n in ("one", "two") for s in SPACES for c in CLUSTERERS}
    for row in found.cluster_rows:
        assert -1 <= row["silhouette"] <= 1 and 0 <= row["noise"] <= 1


def test_layouts_are_those_of_the_first_training_alone(found: Structure) -> None:
    x, _ = blobs()
    alone = found_in({"two": [x[:, :4]]})
    for method in PROJECTIONS:
        np.testing.assert_array_equal(found.layouts["two", method], alone.layouts["two", method])
        assert found.layouts["two", method].shape == (90, 2)


def test_what_depends_on_chance_runs_so_often_in_each_training(found: Structure) -> None:
    for (name, space, clusterer), runs in found.clusters.items():
        restarts = 2 if space == "umap" or clusterer in RANDOM else 1
        assert [len(training) for training in runs] == [restarts] * (1 if name == "one" else 2)
        assert all(run.shape == (90,) and run.dtype == np.int64 for training in runs for run in training)
    assert {row["restarts"] for row in found.cluster_rows if row["space"] == "umap"} == {2}


def test_restarts_are_different_draws() -> None:
    x = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    found = found_in({"x": [x]}, num_clusters=8, restarts=3)
    for space in SPACES:
        (runs,) = found.clusters["x", space, "kmeans"]
        assert min(adjusted_rand_score(runs[0], run) for run in runs[1:]) < 1


def test_a_row_is_the_mean_over_trainings_and_restarts(found: Structure) -> None:
    row = next(row for row in found.cluster_rows if (row["representation"], row["clusterer"]) == ("two", "hdbscan"))
    runs = [run for training in found.clusters["two", row["space"], "hdbscan"] for run in training]
    assert row["noise"] == pytest.approx(np.mean([(run == -1).mean() for run in runs]))
    assert row["num_clusters"] == pytest.approx(np.mean([len(set(run) - {-1}) for run in runs]))


def test_blobs_are_found_in_every_space(found: Structure) -> None:
    _, classes = blobs()
    for space in SPACES:
        for run in found.clusters["one", space, "kmeans"][0]:
            assert adjusted_rand_score(list(classes), run) == 1


def test_only_directions_count() -> None:
    x, _ = blobs()
    longer = x * np.random.default_rng(0).uniform(0.1, 10, (90, 1)).astype(np.float32)
    one, other = (found_in({"x": [points]}).clusters["x", "features", "kmeans"][0][0] for points in (x, longer))
    assert adjusted_rand_score(one, other) == 1


@pytest.mark.parametrize("num_images", [MIN_IMAGES, 9, 11])
def test_a_handful_of_images(num_images: int) -> None:
    x = np.random.default_rng(0).normal(size=(num_images, 5)).astype(np.float32)
    found = found_in({"x": [x]}, num_clusters=10, neighbors=15, umap_dims=10)
    assert all(np.isfinite(layout).all() for layout in found.layouts.values())
    assert all(0 <= row["trustworthiness"] <= 1 and 0 <= row["continuity"] <= 1 for row in found.projection_rows)
    assert all(len(run) == num_images for runs in found.clusters.values() for run in runs[0])


@pytest.mark.parametrize("num_images", [0, 1, MIN_IMAGES - 1])
def test_in_too_few_images_nothing_is_looked_for(num_images: int) -> None:
    assert found_in({"x": [np.ones((num_images, 2), np.float32)]}) == Structure({}, [], {}, [])


@pytest.mark.filterwarnings("error")
def test_features_that_are_all_the_same() -> None:
    found = found_in({"x": [np.ones((30, 5), dtype=np.float32)], "zero": [np.zeros((30, 5), dtype=np.float32)]})
    assert all(np.isfinite(layout).all() for layout in found.layouts.values())
    assert all(0 <= row["noise"] <= 1 for row in found.cluster_rows)
