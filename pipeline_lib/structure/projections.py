"""Projections to a few dimensions, for the map and for clustering, and how far they can be trusted."""

import warnings

import numpy as np
import torch
from sklearn.decomposition import PCA
from umap import UMAP

from pipeline_lib.stats.neighbours import CHUNK, Graph

EPOCHS = 200


def pca(x_ND: np.ndarray, graph: Graph, dim: int, seed: int) -> np.ndarray:
    """Return the scores of the first ``dim`` principal components, float32 ``[N, dim]``; absent ones are 0."""
    kept = min(dim, *x_ND.shape)
    with np.errstate(invalid="ignore"):  # equal points have no variance for the components to share
        scores = PCA(kept, random_state=seed).fit_transform(x_ND)
    return np.pad(scores, ((0, 0), (0, dim - kept))).astype(np.float32)


def umap(x_ND: np.ndarray, graph: Graph, dim: int, seed: int) -> np.ndarray:
    """Return UMAP's layout (McInnes et al. 2018) of a given neighbour graph, float32 ``[N, dim]``.

    UMAP counts a point among its own neighbours, so K neighbours of the graph are K - 1 and the point itself.
    One thread, because with several the layout is another one every time.
    """
    own = np.arange(len(x_ND))[:, None]
    indices = np.hstack([own, graph.indices[:, :-1]])
    distances = np.hstack([np.zeros_like(own, dtype=np.float32), graph.distances[:, :-1]])
    with warnings.catch_warnings():
        # It warns that new points cannot be added to a layout of a given graph, and that one thread is used.
        warnings.simplefilter("ignore")
        layout = UMAP(
            n_components=dim,
            n_neighbors=graph.indices.shape[1],
            precomputed_knn=(indices, distances),
            n_epochs=EPOCHS,
            random_state=seed,
            n_jobs=1,
        ).fit_transform(x_ND)
    return layout.astype(np.float32)


def trustworthiness(x_ND: np.ndarray, near_in_layout: Graph, device: torch.device) -> float:
    """Say whether neighbours in a layout are neighbours in ``x_ND``: 1 at best, about 0.5 by chance.

    T = 1 - 2 / (N K (2N - 3K - 1)) * the sum, over the K neighbours in the layout, of their rank in ``x_ND`` beyond K
    (Venna and Kaski 2001). Its twin, **continuity**, is the same with the arguments swapped: neighbours in ``x_ND``
    that the layout kept together. As in scikit-learn, but in chunks on ``device``, without matrices of all pairs.
    K must be below N / 2.
    """
    x = torch.from_numpy(np.ascontiguousarray(x_ND, dtype=np.float32)).to(device)
    near = torch.from_numpy(near_in_layout.indices).to(device)
    n, k = near.shape
    beyond = 0
    for start in range(0, n, CHUNK):
        rows = torch.arange(start, min(start + CHUNK, n), device=device)
        apart = torch.cdist(x[rows], x)
        apart[rows - start, rows] = torch.inf
        ordered = apart.sort(dim=1).values
        rank = torch.searchsorted(ordered, apart.gather(1, near[rows])) + 1
        beyond += int((rank - k).clamp(min=0).sum())
    return 1 - beyond * 2 / (n * k * (2 * n - 3 * k - 1))
