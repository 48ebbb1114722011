"""Keep the same number of images of every kind, where the kinds are clusters, so that no label is needed."""

from typing import Annotated

import numpy as np

from pipeline_lib.core.registry import Range
from pipeline_lib.select.clusters import clusters
from pipeline_lib.select.selection import Selection, Weight, wanted_size
from pipeline_lib.select.shares import evenly


def cluster_balanced(
    source_ND: np.ndarray,
    target_MD: np.ndarray,
    size: int | None,
    seed: int,
    *,
    num_clusters: Annotated[int, Range(ge=2)] = 10,
    max_weight: Weight = 10.0,
) -> Selection:
    """Keep about equally many images of every k-means cluster; see :func:`~pipeline_lib.select.shares.evenly`.

    There are no more clusters than images; with a ``size`` of None all images stay and only the weights balance.
    """
    wanted = wanted_size(size, len(source_ND))
    return evenly(clusters(source_ND, num_clusters, seed), wanted, max_weight, seed)
