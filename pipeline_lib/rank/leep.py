"""LEEP: what the classes that an encoder was trained on say of those of the target."""

import math

import numpy as np

from pipeline_lib.rank.sets import Examples


def leep(examples: Examples, seed: int) -> float:
    """Return LEEP (Nguyen et al. 2020), the mean log-likelihood of the labels in nats, at most 0.

    The class y of an image has the probability sum_z P(y | z) theta(z), where theta are the probabilities of the
    encoder's own classifier for the image, and P(y | z) is estimated with them from all images. Of an encoder without
    a classifier it is NaN.
    """
    if examples.probabilities_NK is None:
        return math.nan
    theta_NK = examples.probabilities_NK
    _, class_of_N = np.unique(examples.classes_N, return_inverse=True)
    joint_CK = np.zeros((class_of_N.max() + 1, theta_NK.shape[1]))
    np.add.at(joint_CK, class_of_N, theta_NK)
    of_z_K = joint_CK.sum(axis=0)
    given_CK = joint_CK / np.where(of_z_K > 0, of_z_K, 1)
    return float(np.log((given_CK[class_of_N] * theta_NK).sum(axis=1)).mean())
