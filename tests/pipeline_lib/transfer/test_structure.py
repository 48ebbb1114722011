import numpy as np
import pytest
import torch
from sklearn import manifold
from sklearn.datasets import make_blobs
from sklearn.neighbors import NearestNeighbors

from pipeline_lib.core.errors import UserError
from pipeline_lib.transfer import CLUSTERERS, PROJECTIONS, knn
from pipeline_lib.transfer.evaluate import score_clusters, structure
from pipeline_lib.transfer.knn import knn_graph, normalise
from pipeline_lib.transfer.projections import pca, trustworthiness

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def blobs():
    points, classes = make_blobs(90, 12, centers=3, cluster_std=0.5, random_state=0)
    return points.astype(np.float32), classes.astype(str).astype(object)


@pytest.mark.parametrize("chunk", [7, 4096])
def test_the_graph_is_that_of_scikit_learn(chunk, monkeypatch):
    monkeypatch.setattr(knn, "CHUNK", chunk)
    x = np.random.default_rng(0).normal(size=(60, 9)).astype(np.float32)
    distances, indices = NearestNeighbors(n_neighbors=8).fit(x).kneighbors()
    graph = knn_graph(x, 8, CPU)
    np.testing.assert_array_equal(graph.indices, indices)
    np.testing.assert_allclose(graph.distances, distances, rtol=1e-5)


def test_near_duplicates_keep_their_distance():
    x = normalise(np.random.default_rng(0).normal(size=(20, 50)))
    x[1] = x[0] + 1e-5
    graph = knn_graph(x, 3, CPU)
    assert graph.indices[0, 0] == 1
    assert graph.distances[0, 0] == pytest.approx(np.linalg.norm(x[0] - x[1]), rel=1e-3)


def test_nothing_is_its_own_neighbour_even_among_equals():
    graph = knn_graph(np.ones((6, 3), dtype=np.float32), 5, CPU)
    assert all(sorted([row, *near]) == list(range(6)) for row, near in enumerate(graph.indices))


def test_normalised_rows_have_length_one_and_zeros_stay():
    unit = normalise(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0]])
    assert unit.dtype == np.float32


@pytest.mark.parametrize("chunk", [13, 4096])
def test_trustworthiness_is_that_of_scikit_learn_and_continuity_the_swapped_one(chunk, monkeypatch):
    monkeypatch.setattr("pipeline_lib.transfer.projections.CHUNK", chunk)
    x = np.random.default_rng(0).normal(size=(70, 6)).astype(np.float32)
    layout = pca(x, knn_graph(x, 5, CPU), 2, seed=0)
    near_x, near_layout = knn_graph(x, 5, CPU), knn_graph(layout, 5, CPU)
    assert trustworthiness(x, near_layout, CPU) == pytest.approx(manifold.trustworthiness(x, layout, n_neighbors=5))
    assert trustworthiness(layout, near_x, CPU) == pytest.approx(manifold.trustworthiness(layout, x, n_neighbors=5))
    assert trustworthiness(x, near_x, CPU) == 1


@pytest.mark.parametrize("method", PROJECTIONS)
def test_projections_are_of_the_asked_shape_and_the_same_every_time(method, blobs):
    x, _ = blobs
    graph = knn_graph(x, 10, CPU)
    first, second = (PROJECTIONS[method](x, graph, 3, seed=4) for _ in range(2))
    assert first.shape == (90, 3)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("method", PROJECTIONS)
def test_projections_keep_blobs_together(method, blobs):
    x, _ = blobs
    layout = PROJECTIONS[method](x, knn_graph(x, 10, CPU), 2, seed=0)
    assert trustworthiness(x, knn_graph(layout, 10, CPU), CPU) > 0.9


def test_umap_takes_the_given_graph():
    """The layout follows the neighbours that it is given, not those of the points."""
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    other = np.zeros((40, 5), dtype=np.float32)
    other[20:] = 9
    other += 0.1 * x
    halves = PROJECTIONS["umap"](x, knn_graph(other, 8, CPU), 2, seed=0)
    near = knn_graph(halves, 5, CPU).indices
    assert ((near < 20) == (np.arange(40)[:, None] < 20)).mean() > 0.95


def test_principal_components_beyond_the_features_are_zero():
    x = np.random.default_rng(0).normal(size=(10, 1)).astype(np.float32)
    layout = pca(x, knn_graph(x, 3, CPU), 2, seed=0)
    assert layout.shape == (10, 2)
    assert not layout[:, 1].any()


@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_clusterers_find_what_is_apart_and_repeat_it(clusterer, blobs):
    x, classes = blobs
    found = CLUSTERERS[clusterer](x, 3, seed=0)
    assert found.shape == (90,)
    assert found.dtype == np.int64
    assert {(one, of) for one, of in zip(found, classes, strict=True) if one >= 0} == {
        (found[row], classes[row]) for row in (np.flatnonzero((classes == name) & (found >= 0))[0] for name in "012")
    }
    np.testing.assert_array_equal(found, CLUSTERERS[clusterer](x, 3, seed=0))


@pytest.mark.parametrize("clusterer", CLUSTERERS)
@pytest.mark.parametrize("num_images", [8, 60])
def test_clusterers_take_few_images_and_many_dimensions(clusterer, num_images):
    x = np.random.default_rng(0).normal(size=(num_images, 200)).astype(np.float32)
    assert CLUSTERERS[clusterer](x, 10, seed=0).shape == (num_images,)


def test_structure_has_a_row_for_everything_it_found(blobs):
    x, classes = blobs
    found = structure({"one": x, "two": x[:, :4]}, num_clusters=3, neighbors=10, umap_dims=4, device=CPU, seed=0)
    assert set(found.layouts) == {(name, method) for name in ("one", "two") for method in PROJECTIONS}
    assert [(row["representation"], row["method"]) for row in found.projection_rows] == list(found.layouts)
    rows, right = score_clusters(found, classes)
    assert [(row["representation"], row["space"], row["clusterer"]) for row in rows] == list(found.clusters)
    assert right["one", "umap", "kmeans"].mean() == 1
    assert all(-1 <= row["silhouette"] <= 1 and 0 <= row["noise"] <= 1 for row in rows)


@pytest.mark.parametrize("num_images", [8, 11])
def test_structure_of_a_handful_of_images(num_images):
    x = np.random.default_rng(0).normal(size=(num_images, 5)).astype(np.float32)
    found = structure({"x": x}, num_clusters=10, neighbors=15, umap_dims=10, device=CPU, seed=0)
    assert all(np.isfinite(layout).all() for layout in found.layouts.values())
    assert all(row["trustworthiness"] <= 1 for row in found.projection_rows)


def test_structure_survives_features_that_are_all_the_same():
    found = structure(
        {"x": np.ones((30, 5), dtype=np.float32)}, num_clusters=3, neighbors=5, umap_dims=3, device=CPU, seed=0
    )
    assert all(np.isfinite(layout).all() for layout in found.layouts.values())


def test_too_few_images_are_said():
    with pytest.raises(UserError, match="7 images"):
        structure({"x": np.ones((7, 2))}, num_clusters=2, neighbors=5, umap_dims=2, device=CPU, seed=0)
