"""What the labels of a set look like: how skewed the classes are, and which labels look wrong."""

import numpy as np
from cleanlab.filter import find_label_issues
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from pipeline_lib.core.seeds import derive_seed

FOLDS = 5
NEIGHBORS = 10


def skew(counts: np.ndarray) -> dict[str, float | None]:
    """Describe the class counts ``[K]``, all above zero; None where there is no class.

    ``imbalance`` is n_max / n_min. ``effective_classes`` is exp(H(p)), H the entropy in nats of the shares p:
    K for even classes, towards 1 the more one class outweighs the others.
    """
    if not len(counts):
        return {"imbalance": None, "effective_classes": None}
    shares = np.asarray(counts) / np.sum(counts)
    return {
        "imbalance": float(np.max(counts) / np.min(counts)),
        "effective_classes": float(np.exp(-(shares * np.log(shares)).sum())),
    }


@threadpool_limits.wrap(limits=1)
def suspected_errors(features_ND: np.ndarray, classes_N: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Find labels that look wrong by confident learning (Northcutt et al. 2021, cleanlab).

    ``classes_N`` holds text, or a null for "not labelled". The probabilities are the shares of the classes among
    an image's ten nearest neighbours in the other folds: on digits with 5 % of the labels flipped that finds more
    of them, with fewer false alarms, than a linear classifier, which cannot learn a class such as "has a loop".
    Only labelled images of classes with at least five images can be judged.
    Returns ``judged`` (row numbers, int64), ``suspected`` (row numbers among them, the least likely label first)
    and ``suggested`` (for each suspected row the most probable class, text).
    """
    rows = np.array([row for row, name in enumerate(classes_N) if isinstance(name, str)], dtype=np.int64)
    names, codes, counts = np.unique(classes_N[rows].astype(str), return_inverse=True, return_counts=True)
    rows = rows[counts[codes] >= FOLDS]
    names, codes = np.unique(classes_N[rows].astype(str), return_inverse=True)
    if len(names) < 2:
        return {"judged": rows[:0], "suspected": rows[:0], "suggested": names[:0]}
    model = KNeighborsClassifier(min(NEIGHBORS, len(rows) * (FOLDS - 1) // FOLDS - 1))
    split = StratifiedKFold(FOLDS, shuffle=True, random_state=derive_seed(seed, "label folds"))
    probability_NK = cross_val_predict(model, features_ND[rows], codes, cv=split, method="predict_proba")
    suspected = find_label_issues(codes, probability_NK, return_indices_ranked_by="self_confidence", n_jobs=1)
    return {
        "judged": rows,
        "suspected": rows[suspected],
        "suggested": names[probability_NK[suspected].argmax(axis=1)],
    }
