"""Keep the most typical images of every kind (TypiClust, Hacohen et al. 2022): a coreset for few images.

Departs from the authors: where more images are wanted than there are clusters, each cluster gives several of its most
typical ones, and typicality is not computed again after each.
"""

from typing import Annotated

import numpy as np

from pipeline_lib.core.progress import track
from pipeline_lib.core.registry import Range
from pipeline_lib.select.clusters import clusters
from pipeline_lib.select.selection import Selection, least, wanted_size
from pipeline_lib.select.shares import quotas, random_parts
from pipeline_lib.stats.neighbours import mean_distances

# All pairs of images of a cluster are compared, up to so many of them.
MOST = 5000


def typicality(
    source_ND: np.ndarray,
    target_MD: np.ndarray,
    size: int | None,
    seed: int,
    *,
    neighbors: Annotated[int, Range(ge=1)] = 20,
    max_clusters: Annotated[int, Range(ge=2)] = 500,
) -> Selection:
    """Keep, with equal weights, those images of each k-means cluster that are nearest to others of it.

    There are as many clusters as images are wanted, ``max_clusters`` at most, and each gives about equally many: those
    of the smallest mean distance to ``neighbors`` others of their cluster.
    """
    wanted = wanted_size(size, len(source_ND))
    cluster_of_N = clusters(source_ND, min(wanted, max_clusters), seed, starts=1)
    kept = quotas(np.bincount(cluster_of_N), wanted)
    chosen = []
    for cluster, count in track(list(enumerate(kept)), "typical images", len(kept)):
        members = np.flatnonzero(cluster_of_N == cluster)
        apart = np.zeros(len(members))
        for part in random_parts(len(members), MOST, seed):
            # The nearest of them is the image itself, at no distance.
            own = source_ND[members[part]]
            apart[part] = mean_distances(own, own, neighbors + 1)
        chosen.append(members[least(apart, int(count))])
    rows = np.sort(np.concatenate(chosen))
    return Selection(rows, np.ones(len(rows)), {"num_clusters": len(kept)})
