"""Points in blobs."""

import numpy as np
import torch
from sklearn.datasets import make_blobs

CPU = torch.device("cpu")


def blobs(num: int = 90, centers: int = 3, dims: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return points float32 ``[N, D]`` in blobs that are well apart, and the blob of each as text."""
    # On the axes, because random centres may lie near each other.
    middles = 10 * np.eye(centers, dims)
    points, classes = make_blobs(num, dims, centers=middles, cluster_std=0.5, random_state=seed)
    return points.astype(np.float32), classes.astype(str).astype(object)
