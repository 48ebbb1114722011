"""H-score: how far the features of different classes are apart, beside how far features spread."""

import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage
from threadpoolctl import threadpool_limits

from pipeline_lib.rank.sets import Examples


@threadpool_limits.wrap(limits=1)
def h_score(examples: Examples, seed: int) -> float:
    """Return the regularised H-score (1 - r) tr(S^-1 B) (Ibrahim et al. 2021), from 0 to the number of classes - 1.

    B is the covariance of the class means, as in the H-score itself (Bao et al. 2019). S is the shrunk covariance of
    the features (Ledoit and Wolf 2004): (1 - r) times that of the images, and r times a multiple of the identity.
    Without shrinkage any features that are no fewer than the images get the largest score.
    """
    num, dims = examples.features_ND.shape
    centred_ND = examples.features_ND - examples.features_ND.mean(axis=0)
    left_NR, lengths_R, _right = np.linalg.svd(centred_ND, full_matrices=False)
    spread_R = np.square(lengths_R) / num
    if not spread_R.any():
        return 0.0
    shrinkage = ledoit_wolf_shrinkage(centred_ND, assume_centered=True)
    shrunk_R = (1 - shrinkage) * spread_R + shrinkage * spread_R.sum() / dims
    _, class_of_N, size_of_C = np.unique(examples.classes_N, return_inverse=True, return_counts=True)
    # Class means along the right singular vectors, in which S is diagonal; they have no part outside.
    sums_CR = np.zeros((len(size_of_C), len(lengths_R)))
    np.add.at(sums_CR, class_of_N, left_NR * lengths_R)
    between_R = (np.square(sums_CR) / size_of_C[:, None]).sum(axis=0) / num
    return float((1 - shrinkage) * (between_R[shrunk_R > 0] / shrunk_R[shrunk_R > 0]).sum())
