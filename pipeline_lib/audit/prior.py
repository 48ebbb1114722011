"""How frequent the classes seem to be in the target, from its images alone."""

from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from pipeline_lib.audit.errors import NEIGHBORS, judged, neighbours, votes
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.stats.label_shift import confusion_prior

RESAMPLES = 100
MOST_IMAGES = 5000  # of the target
MOST_CLASSES = 100
# Above these, errors grow too much, or something else than frequencies differs.
MOST_CONDITION = 30.0
MOST_AUC = 0.8


@threadpool_limits.wrap(limits=1)
def estimated_prior(
    source_ND: np.ndarray,
    classes_N: np.ndarray,
    keys_N: np.ndarray,
    target_MD: np.ndarray,
    domain_auc: float,
    seed: int,
) -> dict[str, Any] | None:
    """Return the classes with their shares in the source and in the target by black box shift estimation.

    The classifier is the ten nearest neighbours of other folds, as for label errors. ``reason`` says why nothing is
    claimed: "shift" where a classifier tells the domains apart by more than frequencies might, "condition" where
    classes are confused too much; else it is None and ``deviation`` has the standard deviation of each share over
    resamples. None for fewer than two or more than MOST_CLASSES classes.
    """
    rows, fold_of_N = judged(classes_N, keys_N, seed)
    names, codes_N = np.unique(classes_N[rows].astype(str), return_inverse=True)
    num = len(names)
    if not 2 <= num <= MOST_CLASSES or not len(target_MD):
        return None
    found = {"classes": names.tolist(), "source": (np.bincount(codes_N) / len(codes_N)).tolist(), "target": None}
    found |= {"deviation": None, "condition": None, "reason": "shift"}
    if not domain_auc < MOST_AUC:
        return found
    rng = np.random.default_rng(derive_seed(seed, "prior"))
    drawn = rng.permutation(len(target_MD))[:MOST_IMAGES]
    answered_N = votes(codes_N, neighbours(source_ND[rows], fold_of_N)).argmax(axis=1)
    search = NearestNeighbors(n_neighbors=min(NEIGHBORS, len(rows))).fit(source_ND[rows])
    near_MK = search.kneighbors(target_MD[drawn], return_distance=False)
    answered_M = votes(codes_N, near_MK).argmax(axis=1)
    prior_C, condition = confusion_prior(answered_N, codes_N, answered_M, num)
    found["condition"] = condition if np.isfinite(condition) else None
    if not condition <= MOST_CONDITION:
        return {**found, "reason": "condition"}
    resampled = []
    for _ in range(RESAMPLES):
        one, other = (rng.integers(0, len(part), len(part)) for part in (codes_N, answered_M))
        resampled.append(confusion_prior(answered_N[one], codes_N[one], answered_M[other], num)[0])
    return {
        **found,
        "target": prior_C.tolist(),
        "deviation": np.nanstd(resampled, axis=0).tolist(),
        "reason": None,
    }
