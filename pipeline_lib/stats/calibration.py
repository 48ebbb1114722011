"""What confidence is worth: how often an answer is right, beside how sure it was, and what of that may be chance."""

from typing import NamedTuple

import numpy as np

BINS = 10
DRAWS = 1000


class Chance(NamedTuple):
    """What luck alone shows of a confidence that is exactly right, draw by draw.

    ``errors_S`` are the calibration errors, ``right_SB`` the shares of each bin that are right, NaN of an empty one.
    """

    errors_S: np.ndarray  # noqa: N815
    right_SB: np.ndarray  # noqa: N815


def reliability(confidence_N: np.ndarray, right_N: np.ndarray, num_bins: int = BINS) -> np.ndarray:
    """Return mean confidence, share that is right and number of images of each bin, float64 ``[B, 3]``.

    Bins are of equal width, from 0 to 1; an empty one has NaN for what is a mean. ``confidence_N`` is in 0-1,
    ``right_N`` bool.
    """
    bin_N = _bins(confidence_N, num_bins)
    sure_B, right_B = (np.bincount(bin_N, weights, num_bins) for weights in (confidence_N.astype(np.float64), right_N))
    count_B = np.bincount(bin_N, minlength=num_bins)
    some_B = np.where(count_B, count_B, np.nan)
    return np.stack([sure_B / some_B, right_B / some_B, count_B], axis=1)


def calibration_error(confidence_N: np.ndarray, right_N: np.ndarray, num_bins: int = BINS) -> float:
    """Return the expected calibration error (Naeini 2015, doi:10.1609/aaai.v29i1.9602), 0 at best.

    It is the mean over the images of how far the confidence of their bin is from the share of it that is right.
    """
    gap_B = np.bincount(_bins(confidence_N, num_bins), confidence_N.astype(np.float64) - right_N, num_bins)
    return float(np.abs(gap_B).sum() / len(confidence_N))


def by_chance(confidence_TN: np.ndarray, group_N: np.ndarray, seed: int, num_bins: int = BINS) -> Chance:
    """Simulate answers that are right exactly as often as their confidence says, DRAWS times.

    After Bröcker and Smith (2007, doi:10.1175/WAF993.1), with the confidences held fixed. Of several trainings the
    error is the mean, and bins hold the answers of all. The images of a group, numbered by ``group_N`` (int64), share
    their luck, in all trainings: an image that is hard for one is hard for others. That leaves more to chance than
    independent images would.
    """
    rng, num_trainings = np.random.default_rng(seed), len(confidence_TN)
    sure_TN = confidence_TN.astype(np.float64)
    # The bins of each training in places of their own, so that one count serves all.
    bin_TN = _bins(sure_TN, num_bins) + num_bins * np.arange(num_trainings)[:, None]
    sure_K, count_K = (np.bincount(bin_TN.ravel(), w, num_trainings * num_bins) for w in (sure_TN.ravel(), None))
    right_SK = np.empty((DRAWS, len(sure_K)))
    for right_K in right_SK:
        right_TN = rng.random(group_N.max() + 1)[group_N] < sure_TN
        right_K[:] = np.bincount(bin_TN.ravel(), right_TN.ravel(), len(sure_K))
    errors_S = np.abs(right_SK - sure_K).sum(axis=1) / sure_TN.size
    right_SB = right_SK.reshape(DRAWS, num_trainings, num_bins).sum(axis=1)
    count_B = count_K.reshape(num_trainings, num_bins).sum(axis=0)
    return Chance(errors_S, right_SB / np.where(count_B, count_B, np.nan))


def _bins(confidence: np.ndarray, num_bins: int) -> np.ndarray:
    """Return the number of the bin of each confidence; one on the border of two is in the lower one."""
    return np.clip(np.ceil(confidence * num_bins).astype(np.int64), 1, num_bins) - 1
