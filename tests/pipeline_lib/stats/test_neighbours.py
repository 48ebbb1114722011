import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from pipeline_lib.stats import neighbours
from pipeline_lib.stats.neighbours import knn_graph, normalise

CPU = torch.device("cpu")


@pytest.mark.parametrize("chunk", [7, 4096])
def test_the_graph_is_that_of_scikit_learn(chunk, monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
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
