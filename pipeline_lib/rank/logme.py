"""LogME: how probable the labels are under a linear model of the features."""

import numpy as np
from scipy.optimize import minimize_scalar
from threadpoolctl import threadpool_limits

from pipeline_lib.rank.sets import Examples

# Logarithms of the variance of the signal along the longest direction, that of the noise being 1: the best is near one.
GRID = np.linspace(-14, 28, 43)
SMALLEST = 1e-12  # what stands for no noise at all, where the features give the labels exactly


@threadpool_limits.wrap(limits=1)
def logme(examples: Examples, seed: int) -> float:
    """Return LogME (You et al. 2021): the largest log evidence per image, in nats, as a mean over the classes.

    For each class, whether an image is of it is a linear function of the features, without an intercept, with normal
    weights and normal noise, whose variances are those of the largest evidence. It is a density, so it may be above 0.
    """
    num = len(examples)
    left_NR, lengths_R, _right = np.linalg.svd(examples.features_ND, full_matrices=False)
    squares_R = np.square(lengths_R / (lengths_R[0] or 1.0))
    is_of_NC = (examples.classes_N[:, None] == np.unique(examples.classes_N)).astype(np.float64)
    evidence = [
        _evidence(np.square(left_NR.T @ is_of_N), squares_R, float(is_of_N.sum()), num) for is_of_N in is_of_NC.T
    ]
    return float(np.mean(evidence) / num)


def _evidence(along_R: np.ndarray, squares_R: np.ndarray, length: float, num: int) -> float:
    """Return the largest log evidence of labels of the squared ``length``, ``along_R`` of it along singular vectors.

    The labels are normal with the covariance s (1 + c X X^T). The best s follows from c, so one number is looked for,
    which finds the top also where the usual fixed point of both variances creeps, with more features than images.
    """
    outside = max(length - float(along_R.sum()), 0.0)

    def lost(log_c: float) -> float:
        grown_R = 1 + np.exp(log_c) * squares_R
        noise = max(outside + float((along_R / grown_R).sum()), SMALLEST) / num
        return (num * (np.log(2 * np.pi * noise) + 1) + float(np.log(grown_R).sum())) / 2

    best = GRID[np.argmin([lost(log_c) for log_c in GRID])]
    step = GRID[1] - GRID[0]
    return -float(
        minimize_scalar(lost, bounds=(best - step, best + step), method="bounded", options={"xatol": 1e-6}).fun
    )
