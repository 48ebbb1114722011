"""Importance-weighted validation (Sugiyama 2007, https://jmlr.org/papers/v8/sugiyama07a.html)."""

import numpy as np

from pipeline_lib.adapt.evidence import Evidence
from pipeline_lib.stats.shift import effective_sample_size

# The effective number of held-back images (Kish) that their weights must leave, as a share of all.
LEAST_SHARE = 0.1


def iwv(evidence: Evidence) -> float:
    """Return less the error on the source's held-back images, each counted as often as the target has its like.

    The mean of ratio times error, which estimates the target's error where the domains differ in their images alone and
    overlap: 0 at best. NaN without such images, and where :func:`overlap` says that a few of them would decide.
    """
    if not overlap(evidence.ratio):
        return float("nan")
    return -float(np.mean(evidence.ratio * evidence.wrong))


def overlap(ratio_V: np.ndarray) -> bool:
    """Say whether images weighted so are worth a tenth of their number at least, as between domains that overlap."""
    return bool(ratio_V.any()) and effective_sample_size(ratio_V) >= LEAST_SHARE * len(ratio_V)
