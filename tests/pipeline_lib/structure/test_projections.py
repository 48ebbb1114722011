import numpy as np
import pytest
import torch
from sklearn import manifold

from pipeline_lib.stats.neighbours import knn_graph
from pipeline_lib.structure import PROJECTIONS
from pipeline_lib.structure.projections import pca, trustworthiness
from tests.pipeline_lib.structure.toy import CPU, blobs

X, CLASSES = blobs()


@pytest.mark.parametrize("chunk", [13, 4096])
def test_trustworthiness_is_that_of_scikit_learn_and_continuity_the_swapped_one(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline_lib.structure.projections.CHUNK", chunk)
    x = np.random.default_rng(0).normal(size=(70, 6)).astype(np.float32)
    layout = pca(x, knn_graph(x, 5, CPU), 2, seed=0)
    near_x, near_layout = knn_graph(x, 5, CPU), knn_graph(layout, 5, CPU)
    assert trustworthiness(x, near_layout, CPU) == pytest.approx(manifold.trustworthiness(x, layout, n_neighbors=5))
    assert trustworthiness(layout, near_x, CPU) == pytest.approx(manifold.trustworthiness(layout, x, n_neighbors=5))
    assert trustworthiness(x, near_x, CPU) == 1


@pytest.mark.parametrize("method", PROJECTIONS)
def test_projections_are_of_the_asked_shape_and_the_same_every_time(method: str) -> None:
    graph = knn_graph(X, 10, CPU)
    first, second = (PROJECTIONS[method](X, graph, 3, seed=4) for _ in range(2))
    assert first.shape == (90, 3) and first.dtype == np.float32
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("method", PROJECTIONS)
def test_projections_keep_blobs_together(method: str) -> None:
    layout = PROJECTIONS[method](X, knn_graph(X, 10, CPU), 2, seed=0)
    assert trustworthiness(X, knn_graph(layout, 10, CPU), CPU) > 0.9


def test_umap_takes_the_given_graph() -> None:
    """The layout follows the neighbours that it is given, not those of the points."""
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    other = np.zeros((40, 5), dtype=np.float32)
    other[20:] = 9
    other += 0.1 * x
    halves = PROJECTIONS["umap"](x, knn_graph(other, 8, CPU), 2, seed=0)
    near = knn_graph(halves, 5, CPU).indices
    assert ((near < 20) == (np.arange(40)[:, None] < 20)).mean() > 0.95


def test_umap_is_a_matter_of_luck() -> None:
    graph = knn_graph(X, 10, CPU)
    assert not np.array_equal(*(PROJECTIONS["umap"](X, graph, 2, seed=seed) for seed in (0, 1)))


@pytest.mark.parametrize(("num", "dims"), [(10, 1), (2, 5)])
def test_principal_components_that_there_are_not_are_zero(num: int, dims: int) -> None:
    x = np.random.default_rng(0).normal(size=(num, dims)).astype(np.float32)
    layout = pca(x, knn_graph(x, 1, CPU), 3, seed=0)
    kept = min(num, dims)
    assert layout.shape == (num, 3)
    assert layout[:, 0].any() and not layout[:, kept:].any()


@pytest.mark.filterwarnings("error")
def test_equal_points_have_a_layout_too() -> None:
    x = np.ones((20, 4), np.float32)
    for method in PROJECTIONS:
        assert np.isfinite(PROJECTIONS[method](x, knn_graph(x, 5, torch.device("cpu")), 2, seed=0)).all()
