"""Clusterers: groups of images that no label takes part in."""

import warnings

import numpy as np
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from pipeline_lib.stats.scores import silhouette

# Above so many dimensions densities say little and trees are slow: HDBSCAN sees this many principal components.
MAX_DENSITY_DIMS = 50
# The most clusters that an estimate of their number may find, and the points that it looks at.
MOST_CLUSTERS, MOST_POINTS = 20, 2000


@threadpool_limits.wrap(limits=1)
def kmeans(x_ND: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Return the best of ten runs of k-means (Lloyd 1982), int64 ``[N]``.

    On one thread: several add up their parts in the order in which they finish, and sums of floats depend on it.
    """
    model = KMeans(min(num_clusters, len(x_ND)), n_init=10, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal points make fewer clusters
        return model.fit_predict(x_ND).astype(np.int64)


def hdbscan(x_ND: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Return the density clusters of HDBSCAN (Campello et al. 2013), int64 ``[N]``, -1 where a point is noise.

    It finds the number of clusters itself. ``num_clusters`` only says how small one may be: a tenth of the mean
    size of that many clusters, at least five points (so N must be five or more).
    """
    points = np.asarray(x_ND, dtype=np.float64)
    if points.shape[1] > MAX_DENSITY_DIMS:
        with np.errstate(invalid="ignore"):  # equal points have no variance for the components to share
            points = PCA(min(MAX_DENSITY_DIMS, len(points)), random_state=seed).fit_transform(points)
    smallest = max(5, len(points) // (10 * num_clusters))
    return HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(points).astype(np.int64)


def estimate_clusters(x_ND: np.ndarray, seed: int) -> int:
    """Return how many clusters the points ``[N, D]`` (N > 2) seem to have, between 2 and MOST_CLUSTERS.

    It is the number with which the clusters of k-means have the greatest silhouette (Rousseeuw 1987), on at most
    MOST_POINTS random points; no label takes part.
    """
    rng = np.random.default_rng(seed)
    points = x_ND[np.sort(rng.permutation(len(x_ND))[:MOST_POINTS])]
    tried = range(2, min(MOST_CLUSTERS, len(points) - 1) + 1)
    silhouettes = {num: silhouette(points, kmeans(points, num, seed), seed) for num in tried}
    known = {num: value for num, value in silhouettes.items() if value is not None}
    return max(known, key=lambda num: known[num]) if known else 2
