"""The Gaussian kernel of the estimators that have one."""

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances


def median_squared_distance(x_NK: np.ndarray) -> float:
    """Return the median squared distance of two different rows, 1 where most are equal; quadratic in their number."""
    squared = euclidean_distances(x_NK, squared=True)
    return float(np.median(squared[np.triu_indices_from(squared, k=1)])) or 1.0


def gaussian(x_NK: np.ndarray, y_MK: np.ndarray, sigma2: float) -> np.ndarray:
    """Return exp(-|x - y|^2 / (2 sigma^2)), ``[N, M]``."""
    kernel: np.ndarray = np.exp(euclidean_distances(x_NK, y_MK, squared=True) / (-2 * sigma2))
    return kernel
