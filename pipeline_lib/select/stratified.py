"""Keep images at random, with the frequencies of the classes exactly as they are."""

import numpy as np

from pipeline_lib.select.selection import Selection, wanted_size
from pipeline_lib.select.shares import drawn, proportional


def stratified(
    source_ND: np.ndarray, target_MD: np.ndarray, size: int | None, seed: int, *, classes_N: np.ndarray
) -> Selection:
    """Keep ``size`` images with equal weights, of every class its share; ``classes_N`` is the class of each image."""
    _, class_of_N = np.unique(classes_N.astype(str), return_inverse=True)
    quota = proportional(np.bincount(class_of_N), wanted_size(size, len(source_ND)))
    rows = drawn(class_of_N, quota, seed)
    return Selection(rows, np.ones(len(rows)))
