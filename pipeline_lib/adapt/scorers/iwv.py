"""Importance-weighted validation (Sugiyama 2007, https://jmlr.org/papers/v8/sugiyama07a.html)."""

import numpy as np

from pipeline_lib.adapt.evidence import Evidence


def iwv(evidence: Evidence) -> float:
    """Return less the error on the source's held-back images, each counted as often as the target has its like.

    The mean of ratio times error, which estimates the target's error where the domains differ in their images alone and
    overlap: 0 at best. Where they hardly overlap a few images decide. NaN without such images.
    """
    if not len(evidence.wrong):
        return float("nan")
    return -float(np.mean(evidence.ratio * evidence.wrong))
