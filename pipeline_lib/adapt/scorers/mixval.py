"""Whether a mixture of two images is given the class of the larger part (Hu 2023, https://arxiv.org/abs/2307.06343)."""

import numpy as np

from pipeline_lib.adapt.evidence import Evidence


def mixval(evidence: Evidence) -> float:
    """Return the share of mixtures that get the class that the model gives to their larger part, between 0 and 1.

    The mean of two shares counts: that of mixtures within a class, which probe the density of clusters, and that of
    mixtures of two classes, which probe the boundary between them. (The authors rank candidates by each and average the
    ranks.) One of the two counts as 0 where there is no such pair, as for a model that gives all images one class.
    """
    given_N = evidence.probabilities.argmax(axis=1)
    right_N = evidence.mixed.argmax(axis=1) == given_N
    within_N = given_N == given_N[evidence.partners]
    return float(np.mean([right_N[kind].mean() if kind.any() else 0.0 for kind in (within_N, ~within_N)]))
