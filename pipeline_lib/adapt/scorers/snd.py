"""Soft neighbourhood density (Saito 2021, https://arxiv.org/abs/2108.10860)."""

import numpy as np
from scipy.special import softmax
from scipy.stats import entropy as entropy_of

from pipeline_lib.adapt.evidence import Evidence
from pipeline_lib.stats.neighbours import normalise

TEMPERATURE = 0.05  # the authors'


def snd(evidence: Evidence) -> float:
    """Return the mean entropy of each image's similarities to the others, in nats: more is a denser neighbourhood.

    The similarity is the cosine of two predictions. A model that gives all images one class has the most of it.
    """
    points_NC = normalise(evidence.probabilities)
    if len(points_NC) < 3:
        return float("nan")
    similarity_NN = points_NC @ points_NC.T / TEMPERATURE
    np.fill_diagonal(similarity_NN, -np.inf)
    return float(entropy_of(softmax(similarity_NN, axis=1), axis=1).mean())
