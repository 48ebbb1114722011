"""Unconstrained least-squares importance fitting (Kanamori, Hido and Sugiyama 2009)."""

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.select.ratios.kernel import gaussian, median_squared_distance
from pipeline_lib.select.ratios.pair import Pair

CENTRES = 100
FITTED_ON = 2000  # images of each set
# Shares of the median distance of images, and ridges, among which leaving one out chooses.
WIDTHS = tuple(2.0**power for power in np.arange(-3, 3.5, 0.5))
RIDGES = tuple(10.0**power for power in np.arange(-3, 1.5, 0.5))
BLOCK = 65_536


@threadpool_limits.wrap(limits=1)
def ulsif(pair: Pair) -> np.ndarray:
    """Return the ratio as a sum of kernels around target images, fitted in closed form on at most 2,000 of each set.

    Kernel width and ridge are those of the least error when one image of each set is left out at a time.
    """
    source_NK, target_MK = pair.sample(FITTED_ON, "ulsif")
    rng = np.random.default_rng(derive_seed(pair.seed, "ulsif centres"))
    centres_LK = target_MK[rng.permutation(len(target_MK))[:CENTRES]]
    unit = median_squared_distance(np.concatenate([source_NK, target_MK]))
    tried = []
    for sigma2 in (width**2 * unit for width in WIDTHS):
        source_NL, target_ML = (gaussian(x, centres_LK, sigma2) for x in (source_NK, target_MK))
        tried += [(left_out_error(source_NL, target_ML, ridge), sigma2, ridge) for ridge in RIDGES]
    _, sigma2, ridge = min(tried)
    source_NL, target_ML = (gaussian(x, centres_LK, sigma2) for x in (source_NK, target_MK))
    weights_L = solution(source_NL, target_ML, ridge)
    starts = range(0, len(pair.source_NK), BLOCK)
    found = [gaussian(pair.source_NK[start : start + BLOCK], centres_LK, sigma2) @ weights_L for start in starts]
    return np.concatenate(found)


def solution(source_NL: np.ndarray, target_ML: np.ndarray, ridge: float) -> np.ndarray:
    """Return the weights of kernels (values of which are given), ``[L]``: (H + ridge)^-1 h, cut at 0.

    H is the mean of the products of kernels over the source, h the mean of kernels over the target.
    """
    second_LL = source_NL.T @ source_NL / len(source_NL) + ridge * np.eye(source_NL.shape[1])
    found: np.ndarray = np.linalg.solve(second_LL, target_ML.mean(axis=0)).clip(0)
    return found


def left_out_error(source_NL: np.ndarray, target_ML: np.ndarray, ridge: float) -> float:
    """Return the mean of w(x_source)^2 / 2 - w(x_target) over pairs that :func:`solution` was fitted without.

    The pairs are the images in their order, as many as both sets have. All solutions follow from one inverse, by the
    formula of Sherman and Morrison.
    """
    num_source, num_target, num_kernels = len(source_NL), len(target_ML), source_NL.shape[1]
    pairs = min(num_source, num_target)
    out_LP, in_LP = source_NL[:pairs].T, target_ML[:pairs].T
    # (n - 1) times what is to be inverted without an image x is n B - x x^T.
    base_LL = source_NL.T @ source_NL + ridge * (num_source - 1) * np.eye(num_kernels)
    inverse_LL = np.linalg.inv(base_LL)
    moved_LP = inverse_LL @ out_LP
    left_P = 1 - (out_LP * moved_LP).sum(axis=0)
    mean_LP = (target_ML.sum(axis=0)[:, None] - in_LP) / (num_target - 1)
    plain_LP = inverse_LL @ mean_LP
    weights_LP = plain_LP + moved_LP * ((out_LP * plain_LP).sum(axis=0) / left_P)
    weights_LP = ((num_source - 1) * weights_LP).clip(0)
    errors_P = np.square((out_LP * weights_LP).sum(axis=0)) / 2 - (in_LP * weights_LP).sum(axis=0)
    return float(errors_P.mean())
