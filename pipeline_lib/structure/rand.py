"""The adjusted Rand index of parts of a clustering, fast enough to leave out one block of images after the other."""

from collections.abc import Callable

import numpy as np


def rand_scorer(clusters_N: np.ndarray, truth_N: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return the adjusted Rand index (Hubert and Arabie 1985) as a function of row numbers, int64 ``[M]``.

    1 is a perfect match, 0 what chance gives on average, and what one cluster for all gives. Noise is one cluster
    more. NaN where all images are of one class, which nothing can be measured against.
    """
    classes_N, clusters_N = (np.unique(x, return_inverse=True)[1] for x in (truth_N.astype(str), clusters_N))
    num_classes, num_clusters = int(classes_N.max()) + 1, int(clusters_N.max()) + 1
    cells_N = classes_N * num_clusters + clusters_N

    def adjusted_rand_index(rows: np.ndarray) -> float:
        counts = np.bincount(cells_N[rows], minlength=num_classes * num_clusters).reshape(num_classes, num_clusters)
        same_class, same_cluster = _pairs(counts.sum(axis=1)), _pairs(counts.sum(axis=0))
        by_chance = same_class * same_cluster / max(_pairs(np.array([len(rows)])), 1)
        most = (same_class + same_cluster) / 2
        if np.count_nonzero(counts.sum(axis=1)) < 2:
            return float("nan")
        return float((_pairs(counts) - by_chance) / (most - by_chance)) if most > by_chance else 0.0

    return adjusted_rand_index


def _pairs(counts: np.ndarray) -> float:
    """Return the number of pairs within groups of these sizes."""
    sizes = counts.astype(np.float64)
    return float((sizes * (sizes - 1)).sum() / 2)
