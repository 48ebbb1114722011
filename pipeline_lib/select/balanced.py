"""Keep the same number of images of every kind, where the kinds are clusters, so that no label is needed."""

from typing import Annotated

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from pipeline_lib.core.registry import Range
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Images
from pipeline_lib.select.selection import Selection, Weight, clipped, wanted_size
from pipeline_lib.stats.components import pixel_components


def balanced(
    source: Images | np.ndarray,
    target: Images | np.ndarray,
    size: int | None,
    seed: int,
    *,
    num_clusters: Annotated[int, Range(ge=2)] = 10,
    max_weight: Weight = 10.0,
) -> Selection:
    """Keep about equally many images of every k-means cluster of the leading components of the pixels.

    There are no more clusters than images. A cluster with fewer images than its share gives all it has and the others
    fill up. What stays uneven is evened out by weights, clipped at ``max_weight`` (their mean is 1); with a ``size``
    of None all images stay and only the weights balance.
    """
    wanted = wanted_size(size, len(source))
    num_clusters = min(num_clusters, len(source))
    (components,) = pixel_components([source], seed)
    # Threads of k-means add up in any order; one thread gives the same clusters every time.
    with threadpool_limits(1):
        cluster = KMeans(num_clusters, n_init=4, random_state=derive_seed(seed, "k-means")).fit_predict(components)
    kept = quotas(np.bincount(cluster, minlength=num_clusters), wanted)
    rng = np.random.default_rng(derive_seed(seed, "select balanced"))
    chosen = [rng.choice(np.flatnonzero(cluster == index), count, replace=False) for index, count in enumerate(kept)]
    rows = np.sort(np.concatenate(chosen))
    weights = clipped(1 / kept[cluster[rows]], max_weight)
    return Selection(rows, weights, {"smallest_cluster": int(kept.min()), "largest_cluster": int(kept.max())})


def quotas(available_K: np.ndarray, wanted: int) -> np.ndarray:
    """Share ``wanted`` images among clusters as evenly as ``available_K`` (int) allows; return int64 ``[K]``."""
    quota = np.zeros(len(available_K), dtype=np.int64)
    for rank, index in enumerate(np.argsort(available_K, kind="stable")):
        quota[index] = min(available_K[index], (wanted - quota.sum()) // (len(available_K) - rank))
    return quota
