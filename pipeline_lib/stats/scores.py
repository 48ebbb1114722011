"""Scores of clusters against classes, and without any.

"Not labelled" is None or NaN; such an image enters no score.
"""

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    silhouette_score,
)
from sklearn.metrics.cluster import contingency_matrix

NOISE = -1
# The silhouette compares all pairs: of a larger set it takes so many points at random.
MAX_SILHOUETTE = 5000


def matched(clusters_N: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """Return for each image whether its cluster stands for its class: float64 ``[N]``, 1, 0 or NaN (not labelled).

    Each cluster stands for at most one class and each class has at most one cluster, such that most images are
    right (the Hungarian method; Kuhn 1955). Noise stands for no class, so it is always wrong; so are the images
    of clusters and classes that are left over.
    """
    right = np.full(len(truth_N), np.nan)
    known = ~pd.isna(truth_N)
    right[known] = 0
    rows = np.flatnonzero(known & (clusters_N != NOISE))
    if len(rows):
        truth, found = (pd.factorize(values[rows])[0] for values in (truth_N, clusters_N))
        counts = contingency_matrix(truth, found)
        stands_for = dict(zip(*linear_sum_assignment(counts.T, maximize=True), strict=True))
        right[rows] = [stands_for.get(cluster) == one for cluster, one in zip(found, truth, strict=True)]
    return right


def agreement(clusters_N: np.ndarray, truth_N: np.ndarray) -> dict[str, float | None]:
    """Return ``ari`` and ``ami`` of the labelled images, where noise is one cluster more; None without labels.

    Both are 0 on average for chance, and for one cluster alone; ``ami`` is normalised by the arithmetic mean of the
    entropies.
    """
    known = ~pd.isna(truth_N)
    if not known.any():
        return {"ari": None, "ami": None}
    truth = truth_N[known].astype(str)
    return {
        "ari": float(adjusted_rand_score(truth, clusters_N[known])),
        "ami": float(adjusted_mutual_info_score(truth, clusters_N[known])),
    }


def silhouette(x_ND: np.ndarray, clusters_N: np.ndarray, seed: int) -> float | None:
    """Return the mean silhouette (Rousseeuw 1987, -1 to 1) of the points that are not noise; it needs no label.

    None where there are fewer than two clusters, or nothing but single points.
    """
    rows = np.flatnonzero(clusters_N != NOISE)
    if len(rows) > MAX_SILHOUETTE:
        rows = np.random.default_rng(seed).choice(rows, MAX_SILHOUETTE, replace=False)
    if not 2 <= len(np.unique(clusters_N[rows])) < len(rows):
        return None
    return float(silhouette_score(x_ND[rows], clusters_N[rows]))


def mean(values: np.ndarray) -> float | None:
    """Return the mean of what is not NaN, or None where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
