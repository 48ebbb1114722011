"""The ratio by a classifier of the domain."""

import numpy as np

from pipeline_lib.select.ratios.pair import Pair
from pipeline_lib.stats.shift import density_ratio


def classifier(pair: Pair) -> np.ndarray:
    """Return the odds of "target" out of fold; see :func:`pipeline_lib.stats.shift.density_ratio`."""
    return density_ratio(pair.told_apart[0])
