"""Keep the same number of images of every class."""

import numpy as np

from pipeline_lib.select.selection import Selection, Weight, wanted_size
from pipeline_lib.select.shares import evenly


def class_balanced(
    source_ND: np.ndarray,
    target_MD: np.ndarray,
    size: int | None,
    seed: int,
    *,
    classes_N: np.ndarray,
    max_weight: Weight = 10.0,
) -> Selection:
    """Keep about equally many images of every class; see :func:`~pipeline_lib.select.shares.evenly`.

    ``classes_N`` is the name of the class of each image. With a ``size`` of None all images stay and only the weights
    balance.
    """
    _, class_of_N = np.unique(classes_N.astype(str), return_inverse=True)
    return evenly(class_of_N, wanted_size(size, len(source_ND)), max_weight, seed)
