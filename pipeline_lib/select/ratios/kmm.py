"""Kernel mean matching (Huang et al. 2006): weights under which the source has the target's mean in a kernel's space.

Departs from the authors: the mean of the weights is exactly 1, where they allow a margin; a large source is matched
in random parts, each of which is a sample of it.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline_lib.core.progress import track
from pipeline_lib.select.ratios.kernel import gaussian, median_squared_distance
from pipeline_lib.select.ratios.pair import Pair
from pipeline_lib.select.shares import random_parts

LARGEST = 1000.0  # what a weight may be
PART = 1000  # source images that are matched at once
TARGET = 2000  # target images that they are matched to
STEPS = 500
NEAR = 1e-6


@threadpool_limits.wrap(limits=1)
def kmm(pair: Pair) -> np.ndarray:
    """Return the weights of least maximum mean discrepancy under a Gaussian kernel of the median distance."""
    source_NK, target_MK = pair.sample(TARGET, "kmm")
    sigma2 = median_squared_distance(np.concatenate([source_NK, target_MK]))
    weights_N = np.empty(len(pair.source_NK))
    parts = random_parts(len(weights_N), PART, pair.seed)
    for part in track(parts, "kernel mean matching", len(parts)):
        own = pair.source_NK[part].astype(np.float64)
        weights_N[part] = matched(gaussian(own, own, sigma2), gaussian(own, target_MK, sigma2).mean(axis=1))
    return weights_N


def matched(kernel_NN: np.ndarray, towards_N: np.ndarray) -> np.ndarray:
    """Return the weights w of mean 1, from 0 to LARGEST, of the least w^T K w / (2 N) - w^T k.

    ``towards_N`` is the mean kernel k of each source image with the target. By accelerated projected gradients (Beck
    and Teboulle 2009), begun again where the momentum points uphill.
    """
    num = len(kernel_NN)
    step = num / float(np.linalg.eigvalsh(kernel_NN)[-1])
    weights_N = ahead_N = np.ones(num)
    pace = 1.0
    for _ in range(STEPS):
        slope_N = kernel_NN @ ahead_N / num - towards_N
        moved_N = of_mean_one(ahead_N - step * slope_N)
        change_N = moved_N - weights_N
        if float(slope_N @ change_N) > 0:
            pace = 1.0
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        weights_N, ahead_N, pace = moved_N, moved_N + (pace - 1) / faster * change_N, faster
        if np.abs(change_N).max() < NEAR:
            break
    return weights_N


def of_mean_one(x_N: np.ndarray) -> np.ndarray:
    """Return the nearest point of mean 1 with entries from 0 to LARGEST: all are moved alike and then cut."""
    low, high = float(x_N.min()) - LARGEST, float(x_N.max())
    for _ in range(100):
        shift = (low + high) / 2
        if (x_N - shift).clip(0, LARGEST).mean() > 1:
            low = shift
        else:
            high = shift
    found: np.ndarray = (x_N - high).clip(0, LARGEST)
    return found
