"""Optimal transport from a source to the target."""

import numpy as np
import ot
from sklearn.metrics.pairwise import euclidean_distances

from pipeline_lib.rank.sets import Domain

# The exact plan of many images takes a while, and what is better than 100,000 steps does not change a rank.
STEPS = 100_000


def transport(source: Domain, target: Domain, seed: int) -> float:
    """Return the squared Wasserstein-2 distance of both sets of images, each image with the same weight.

    It is the mean squared distance that features travel on the best plan, which is computed exactly: memory is
    quadratic, and time more than that.
    """
    costs_NM = euclidean_distances(source.features_ND, target.features_ND, squared=True)
    weights = (np.full(length, 1 / length) for length in costs_NM.shape)
    return float(ot.emd2(*weights, costs_NM, numItermax=STEPS))
