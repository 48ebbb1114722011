"""The honest evaluation: what every representation is worth on the target, against every baseline."""

from collections.abc import Callable, Mapping

import numpy as np

from pipeline_lib.transfer.clusters import hdbscan, kmeans
from pipeline_lib.transfer.projections import pca, umap

# (features float32 [N, D], graph, dim, seed) -> float32 [N, dim]
PROJECTIONS: Mapping[str, Callable[..., np.ndarray]] = {"pca": pca, "umap": umap}

# (points [N, D], num_clusters, seed) -> cluster numbers int64 [N], -1 where a point is noise
CLUSTERERS: Mapping[str, Callable[..., np.ndarray]] = {"kmeans": kmeans, "hdbscan": hdbscan}
