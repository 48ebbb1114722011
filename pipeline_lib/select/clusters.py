"""Kinds of images that need no label."""

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from pipeline_lib.core.seeds import derive_seed

# Centres of more images than these are those of a sample.
FIT_ON = 20_000


# Threads of k-means add up in any order; one thread gives the same clusters every time.
@threadpool_limits.wrap(limits=1)
def clusters(features_ND: np.ndarray, num_clusters: int, seed: int, starts: int = 4) -> np.ndarray:
    """Return the k-means cluster of each image, int64 ``[N]`` from 0; there are no more clusters than images."""
    rng = np.random.default_rng(derive_seed(seed, "k-means sample"))
    part = features_ND if len(features_ND) <= FIT_ON else features_ND[rng.permutation(len(features_ND))[:FIT_ON]]
    means = KMeans(min(num_clusters, len(part)), n_init=starts, random_state=derive_seed(seed, "k-means")).fit(part)
    return (means.labels_ if part is features_ND else means.predict(features_ND)).astype(np.int64)
