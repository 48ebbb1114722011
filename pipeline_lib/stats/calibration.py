"""What confidence is worth: how often an answer is right, beside how sure it was, and how well it orders images."""

import numpy as np
from sklearn.metrics import roc_auc_score

BINS = 15


def reliability(confidence_N: np.ndarray, right_N: np.ndarray, num_bins: int = BINS) -> np.ndarray:
    """Return mean confidence, share that is right and number of images of each bin that has any, float64 ``[B, 3]``.

    Bins are of equal width, from 0 to 1; ``confidence_N`` is in 0-1, ``right_N`` bool.
    """
    bin_N = np.clip(np.ceil(confidence_N * num_bins).astype(np.int64), 1, num_bins) - 1
    sums = [np.bincount(bin_N, weights, num_bins) for weights in (confidence_N.astype(np.float64), right_N, None)]
    sure_B, right_B, count_B = (part[sums[2] > 0] for part in sums)
    return np.stack([sure_B / count_B, right_B / count_B, count_B], axis=1)


def calibration_error(confidence_N: np.ndarray, right_N: np.ndarray, num_bins: int = BINS) -> float:
    """Return the expected calibration error (Naeini 2015, doi:10.1609/aaai.v29i1.9602), 0 at best.

    It is the mean over the images of how far the confidence of their bin is from the share of it that is right.
    """
    sure_B, right_B, count_B = reliability(confidence_N, right_N, num_bins).T
    return float((np.abs(sure_B - right_B) * count_B).sum() / count_B.sum())


def auroc(answers_N: np.ndarray, confidence_N: np.ndarray, truth_N: np.ndarray) -> float | None:
    """Return the area under the ROC curve of a label of two classes, 0.5 for chance; None of any other label.

    ``answers_N`` and ``truth_N`` are classes (text), ``confidence_N`` the probability of the answer: that of the other
    class is what is left. Which of the two is called positive makes no difference.
    """
    classes = np.unique(truth_N.astype(str))
    if len(classes) != 2 or not np.isin(answers_N.astype(str), classes).all():
        return None
    is_second_N = answers_N.astype(str) == classes[1]
    chance_N = np.where(is_second_N, confidence_N, 1 - confidence_N.astype(np.float64))
    return float(roc_auc_score(truth_N.astype(str) == classes[1], chance_N))
