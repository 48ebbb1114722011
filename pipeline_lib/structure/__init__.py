"""What a set of images looks like without any label: projections and clusters of its features."""

from collections.abc import Callable, Mapping

import numpy as np

from pipeline_lib.structure.clusters import hdbscan, kmeans
from pipeline_lib.structure.projections import pca, umap

# (features float32 [N, D], graph, dim, seed) -> float32 [N, dim]
PROJECTIONS: Mapping[str, Callable[..., np.ndarray]] = {"pca": pca, "umap": umap}

# (points [N, D], num_clusters, seed) -> cluster numbers int64 [N], -1 where a point is noise
CLUSTERERS: Mapping[str, Callable[..., np.ndarray]] = {"kmeans": kmeans, "hdbscan": hdbscan}
# Those whose result depends on the seed, so that one run of them is a matter of luck.
RANDOM = {"kmeans"}
