import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from pipeline_lib.structure import CLUSTERERS, RANDOM, clusters
from pipeline_lib.structure.clusters import estimate_clusters
from pipeline_lib.structure.rand import rand_scorer
from tests.pipeline_lib.structure.toy import blobs


@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_clusterers_find_what_is_apart_and_repeat_it(clusterer: str) -> None:
    x, classes = blobs()
    found = CLUSTERERS[clusterer](x, 3, seed=0)
    assert found.shape == (90,) and found.dtype == np.int64
    placed = found >= 0
    assert placed.mean() > 0.9 and adjusted_rand_score(list(classes[placed]), found[placed]) == 1
    np.testing.assert_array_equal(found, CLUSTERERS[clusterer](x, 3, seed=0))


@pytest.mark.parametrize("clusterer", CLUSTERERS)
@pytest.mark.parametrize("num_images", [8, 60])
def test_clusterers_take_few_images_and_many_dimensions(clusterer: str, num_images: int) -> None:
    x = np.random.default_rng(0).normal(size=(num_images, 200)).astype(np.float32)
    assert CLUSTERERS[clusterer](x, 10, seed=0).shape == (num_images,)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_equal_points_are_clustered_too(clusterer: str) -> None:
    assert CLUSTERERS[clusterer](np.ones((20, 60), np.float32), 3, seed=0).shape == (20,)


def test_only_what_depends_on_chance_is_said_to() -> None:
    x = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    for name, cluster in CLUSTERERS.items():
        runs = {tuple(cluster(x, 12, seed)) for seed in range(3)}
        assert (len(runs) > 1) == (name in RANDOM)


@pytest.mark.parametrize("centers", [2, 3, 7])
def test_the_estimate_finds_as_many_clusters_as_there_are(centers: int) -> None:
    x, _ = blobs(140, centers)
    assert estimate_clusters(x, seed=0) == centers


@pytest.mark.parametrize("num", [3, 4, 8])
def test_the_estimate_takes_a_handful_of_points(num: int) -> None:
    x = np.random.default_rng(0).normal(size=(num, 3)).astype(np.float32)
    assert 2 <= estimate_clusters(x, seed=0) < num


@pytest.mark.filterwarnings("error")
def test_the_estimate_of_equal_points_is_the_least() -> None:
    assert estimate_clusters(np.ones((30, 3), np.float32), seed=0) == 2


def test_the_estimate_looks_at_no_more_points_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "MOST_POINTS", 60)
    seen = []
    real = clusters.kmeans
    monkeypatch.setattr(clusters, "kmeans", lambda x, num, seed: (seen.append(len(x)), real(x, num, seed))[1])
    assert estimate_clusters(blobs(300)[0], seed=0) == 3
    assert set(seen) == {60}


def test_the_fast_rand_index_is_that_of_scikit_learn_on_any_rows() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        found, truth = rng.integers(-1, 4, 50), rng.integers(0, 3, 50).astype(str).astype(object)
        score = rand_scorer(found, truth)
        rows = rng.permutation(50)[:30]
        for part in (rows, np.arange(50)):
            assert score(part) == pytest.approx(adjusted_rand_score(list(truth[part]), found[part]))


def test_the_fast_rand_index_of_what_cannot_be_measured() -> None:
    truth = np.array(list("aaabbb"), dtype=object)
    assert rand_scorer(np.zeros(6, np.int64), truth)(np.arange(6)) == 0
    assert rand_scorer(np.array([7, 7, 7, 2, 2, 2]), truth)(np.arange(6)) == 1
    # Images of one class have nothing that a clustering could find.
    assert np.isnan(rand_scorer(np.array([7, 7, 7, 2, 2, 2]), truth)(np.arange(3)))
