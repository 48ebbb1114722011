"""Whether clusters of the features are what the model predicts (Musgrave 2022, https://arxiv.org/abs/2208.07360)."""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score
from threadpoolctl import threadpool_limits

from pipeline_lib.adapt.evidence import Evidence
from pipeline_lib.stats.neighbours import normalise


@threadpool_limits.wrap(limits=1)
def class_ami(evidence: Evidence) -> float:
    """Return the adjusted mutual information of predicted classes and of as many k-means clusters of the features.

    At most 1, and about 0 by chance, such as where all images are given one class. The features are normalised to
    length 1.
    """
    predicted_N = evidence.probabilities.argmax(axis=1)
    num_clusters = min(evidence.probabilities.shape[1], len(np.unique(evidence.features, axis=0)))
    if num_clusters < 2:
        return 0.0
    clusters_N = KMeans(num_clusters, n_init=3, random_state=0).fit_predict(normalise(evidence.features))
    return float(adjusted_mutual_info_score(predicted_N, clusters_N))
