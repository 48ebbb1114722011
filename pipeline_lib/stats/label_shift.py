"""How frequent the classes of unlabelled images are, if nothing but that differs from where a model was trained."""

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


def black_box_prior(
    source_MC: np.ndarray, source_classes_M: np.ndarray, target_NC: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the prior of the classes in the target by the confusions of a model, and how far they can be relied on.

    Black box shift estimation (Lipton 2018, https://arxiv.org/abs/1802.03916): the shares of predicted classes in the
    target are those of the source's classes, mixed by the prior; solved for the prior with non-negative weights. The
    second number is the condition of the confusion matrix, 1 at best. ``source_MC`` are probabilities of labelled
    images that the model was not trained on, ``source_classes_M`` their class numbers.
    """
    from scipy.optimize import nnls

    num_classes = source_MC.shape[1]
    predicted = np.eye(num_classes)[source_MC.argmax(axis=1)]
    truth = np.eye(num_classes)[source_classes_M]
    confusion_CC = predicted.T @ truth / truth.sum(axis=0).clip(1)
    shares_C = np.eye(num_classes)[target_NC.argmax(axis=1)].mean(axis=0)
    prior_C, _ = nnls(confusion_CC, shares_C)
    return prior_C / max(prior_C.sum(), 1e-300), float(np.linalg.cond(confusion_CC))
