"""Exact nearest neighbours: the graph of a representation, and how far a set lies from another."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

CHUNK = 2048
# Distances held at once: fewer rows of a large set than of a small one, so that memory does not grow with it.
MOST_DISTANCES = 2**27


class Graph(NamedTuple):
    """The neighbours of every row, nearest first, without the row itself.

    ``indices`` is int64 ``[N, K]``; ``distances`` is float32 ``[N, K]``, Euclidean.
    """

    indices: np.ndarray
    distances: np.ndarray


def normalise(x_ND: np.ndarray) -> np.ndarray:
    """Scale every row to length 1 (float32), so that Euclidean neighbours are cosine neighbours; zeros stay zeros."""
    length = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return (x_ND / np.where(length > 0, length, 1)).astype(np.float32)


def knn_graph(x_ND: np.ndarray, k: int, device: torch.device) -> Graph:
    """Return the ``k`` nearest rows of every row (k < N) by Euclidean distance, computed in chunks on ``device``.

    Neighbours are found by a matrix product and their distances computed again from the differences, because
    the product loses the digits of near duplicates.
    """
    x = torch.from_numpy(np.ascontiguousarray(x_ND, dtype=np.float32)).to(device)
    half_square = x.square().sum(dim=1) / 2
    indices, distances = [], []
    size = max(1, min(CHUNK, MOST_DISTANCES // max(1, len(x))))
    for start in range(0, len(x), size):
        rows = x[start : start + size]
        # Largest where the distance is smallest: |a - b|^2 = |a|^2 - 2 (a.b - |b|^2 / 2).
        closeness = rows @ x.T - half_square
        closeness[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = -torch.inf
        found = closeness.topk(k, dim=1).indices
        apart = torch.stack([(rows - x[column]).norm(dim=1) for column in found.T], dim=1)
        apart, order = apart.sort(dim=1, stable=True)
        indices.append(found.gather(1, order).cpu())
        distances.append(apart.cpu())
    return Graph(torch.cat(indices).numpy(), torch.cat(distances).numpy())


@threadpool_limits.wrap(limits=1)
def mean_distances(x_ND: np.ndarray, y_MD: np.ndarray, k: int) -> np.ndarray:
    """Return the mean Euclidean distance of each row of x to its ``k`` nearest of y, or to all of fewer, ``[N]``."""
    found = NearestNeighbors(n_neighbors=min(k, len(y_MD)), algorithm="brute").fit(y_MD.astype(np.float64))
    distances_NK, _ = found.kneighbors(x_ND.astype(np.float64))
    mean_N: np.ndarray = distances_NK.mean(axis=1)
    return mean_N
