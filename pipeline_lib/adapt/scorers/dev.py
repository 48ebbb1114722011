"""Deep embedded validation (You 2019, https://proceedings.mlr.press/v97/you19a.html)."""

import numpy as np

from pipeline_lib.adapt.evidence import Evidence
from pipeline_lib.adapt.scorers.iwv import overlap


def dev(evidence: Evidence) -> float:
    """Return less the importance-weighted error, with the variance that its weights cause taken out.

    The mean of the ratios, which should be 1, is the control variate. Better is more, and above 0 is possible. NaN as
    for :func:`~pipeline_lib.adapt.scorers.iwv.iwv`.
    """
    if len(evidence.wrong) < 2 or not overlap(evidence.ratio):
        return float("nan")
    weighted_V, ratio_V = evidence.ratio * evidence.wrong, evidence.ratio
    variance = float(np.var(ratio_V, ddof=1))
    share = float(np.cov(weighted_V, ratio_V)[0, 1]) / variance if variance > 0 else 0.0
    return -float(np.mean(weighted_V) - share * (np.mean(ratio_V) - 1))
