"""How well probabilities put images in order: areas under curves, the mean over classes of each against the rest.

``probability_NC`` is what a model gives each image and class (or tag), ``has_NC`` (bool) says which image has which.
Some image must have each class, and some must not: who asks leaves out the classes that are absent.
"""

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


def auroc(probability_NC: np.ndarray, has_NC: np.ndarray) -> float:
    """Return the mean area under the ROC curve: 1 at best, 0.5 for chance and for a probability that is always one."""
    pairs = zip(has_NC.T, probability_NC.T, strict=True)
    return float(np.mean([roc_auc_score(has_N, probability_N) for has_N, probability_N in pairs]))


def mean_average_precision(probability_NC: np.ndarray, has_NC: np.ndarray) -> float:
    """Return the mean of the average precisions (the precision at each image that has the class, averaged).

    1 is best; chance, and a probability that is always one, give the share of the images that have the class.
    """
    pairs = zip(has_NC.T, probability_NC.T, strict=True)
    return float(np.mean([average_precision_score(has_N, probability_N) for has_N, probability_N in pairs]))
