"""How frequent classes are: by labels, and of unlabelled images if nothing else differs from where a model learnt."""

import numpy as np

STEPS, TOLERANCE = 1000, 1e-7


def target_prior(probabilities_NC: np.ndarray, source_prior_C: np.ndarray) -> np.ndarray:
    """Return the prior of the classes in the target by maximum likelihood, ``[C]`` (Saerens 2002, Neural Computation).

    ``probabilities_NC`` are those of a model that was trained under ``source_prior_C`` (positive); expectation
    maximisation finds the prior under which they are most likely, which is right as far as the model is calibrated and
    images of a class look the same in both.
    """
    prior_C = source_prior_C / source_prior_C.sum()
    ratio_NC = probabilities_NC.astype(np.float64) / prior_C
    for _ in range(STEPS):
        posterior_NC = ratio_NC * prior_C
        posterior_NC /= posterior_NC.sum(axis=1, keepdims=True).clip(1e-300)
        found_C = posterior_NC.mean(axis=0)
        if np.abs(found_C - prior_C).max() < TOLERANCE:
            return found_C
        prior_C = found_C
    return prior_C


def prior_of(encoded_N: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the share of each class among class numbers below ``num_classes``, ``[C]``, with one image added to each.

    Other numbers stand for images without a label.
    """
    known = encoded_N[(encoded_N >= 0) & (encoded_N < num_classes)]
    counts_C = np.bincount(known, minlength=num_classes) + 1.0
    shares: np.ndarray = counts_C / counts_C.sum()
    return shares


def confusion_prior(
    answered_N: np.ndarray, classes_N: np.ndarray, answered_M: np.ndarray, num_classes: int
) -> tuple[np.ndarray, float]:
    """Return the prior of the classes in the target and cond(C) (black box shift estimation, Lipton 2018, ICML).

    ``answered_N`` are what a classifier answers for source images that it did not learn from, of ``classes_N``;
    ``answered_M`` what it answers in the target. The prior is w p(y) with the weights w = C^-1 mu, C[i, j] the share of
    source images that are of class j and answered i, and mu the share of each answer in the target; what is below zero
    is set to zero and the rest scaled to 1. The condition number says how many times errors grow on the way: infinite
    where answers do not tell the classes apart (the prior is then NaN).
    """
    cells = np.bincount(answered_N * num_classes + classes_N, minlength=num_classes**2)
    joint_CC = cells.reshape(num_classes, num_classes) / max(len(classes_N), 1)
    mu_C = np.bincount(answered_M, minlength=num_classes) / max(len(answered_M), 1)
    condition = float(np.linalg.cond(joint_CC))
    if not condition < 1 / np.finfo(np.float64).eps:
        return np.full(num_classes, np.nan), float("inf")
    prior_C: np.ndarray = (np.linalg.solve(joint_CC, mu_C) * joint_CC.sum(axis=0)).clip(0)
    return prior_C / prior_C.sum(), condition
