"""How alike two pictures must be to be copies, learnt from planted copies and from unrelated images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

REACH = 0.99  # share of planted copies that a threshold may reach
FALSE = 1e-3  # false alarms per image that it may cost
# Share of images that are taken to have no copy: where planted copies are as unlike as most unrelated images, scores of
# unrelated ones have to be sought among theirs.
UNRELATED = 0.25
TAIL = 0.25  # share of unrelated images, the most alike, that tell how many would be more alike still
LEAST_POWER, MOST_POWER = 1.0, 60.0


@dataclass(frozen=True)
class Threshold:
    """The score up to which a pair counts as a copy, and what to expect of it.

    ``recall`` is the share of planted copies that are found, by alteration; ``false`` the share of images that would be
    found were none a copy.
    """

    score: float
    recall: Mapping[str, float]
    false: float


def calibrate(planted: Mapping[str, np.ndarray], unrelated_N: np.ndarray) -> Threshold:
    """Choose the threshold that finds most planted copies at no more than one false alarm in 1,000 images.

    ``planted`` has for each alteration the scores of copies and their originals, small for alike ones; ``unrelated_N``
    has for each of some images the score of the other image most like it, some of which may be copies. So only scores
    above those of planted copies are believed to be of unrelated images, or the largest quarter of all. The number of
    points within a distance grows with a power of it, which is fitted to the closest quarter of them (to all, where
    there is only the largest quarter), and tells how many lie closer still.
    """
    reach = float(np.quantile(np.concatenate(list(planted.values())), REACH, method="lower"))
    if not np.isfinite(reach):
        reach = float(max(scores[np.isfinite(scores)].max(initial=0.0) for scores in planted.values()))
    share_of_tail = TAIL
    if len(unrelated_N) and (unrelated_N > reach).mean() < UNRELATED:
        reach, share_of_tail = float(np.quantile(unrelated_N, 1 - UNRELATED, method="lower")), 1.0
    beyond = np.sort(unrelated_N[unrelated_N > reach])
    end = float(beyond[min(int(share_of_tail * len(beyond)), len(beyond) - 1)]) if len(beyond) else np.inf
    tail = beyond[beyond < end]
    score = reach
    share = 0.0
    if len(tail) and np.isfinite(end):
        power = _power(tail / end, reach / end)
        weight = len(tail) / len(unrelated_N) / (1 - (reach / end) ** power)
        score = min(reach, end * (FALSE / weight) ** (1 / power))
        share = weight * (score / end) ** power
    recall = {kind: float((scores <= score).mean()) for kind, scores in planted.items()}
    return Threshold(score, recall, share)


def _power(shares: np.ndarray, least: float) -> float:
    """Return the likeliest power p where P(X < x) grows as x^p and only values in [least, 1] were seen."""
    mean, longest = float(-np.log(shares).mean()), float(-np.log(max(least, 1e-6)))

    def excess(power: float) -> float:
        return 1 / power - longest / np.expm1(min(power * longest, 500.0)) - mean

    if excess(LEAST_POWER) <= 0:
        return LEAST_POWER
    if excess(MOST_POWER) >= 0:
        return MOST_POWER
    return float(brentq(excess, LEAST_POWER, MOST_POWER))
