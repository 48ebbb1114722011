"""What the labels of a set look like: how skewed the classes are, and which labels look wrong."""

import numpy as np
from cleanlab.filter import find_label_issues
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.labels.kind import labelled
from pipeline_lib.stats.folds import folds_of, in_every_training

FOLDS = 5
NEIGHBORS = 10
# Neighbours take time with the square of the images, and probabilities memory with images times classes.
MOST_IMAGES = 20_000
MOST_CLASSES = 1000


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
def suspected_errors(
    features_ND: np.ndarray, classes_N: np.ndarray, keys_N: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Find labels that look wrong by confident learning (Northcutt et al. 2021, cleanlab).

    ``classes_N`` holds text, or a null for "not labelled". The probabilities are the shares of the classes among
    an image's ten nearest neighbours in the other folds, which have no image of its key: on digits with 5 % of the
    labels flipped that finds more of them, with fewer false alarms, than a linear classifier, which cannot learn a
    class such as "has a loop". Only labelled images of classes with at least five images can be judged, and of those
    at most 20,000 at random of the 1,000 largest classes.
    Returns ``judged`` (row numbers, int64), ``suspected`` (row numbers among them, the least likely label first)
    and ``suggested`` (for each suspected row the most probable class, text).
    """
    rows, fold_of_N = _judged(classes_N, keys_N, seed)
    names, codes = np.unique(classes_N[rows].astype(str), return_inverse=True)
    if len(names) < 2:
        return {"judged": rows[:0], "suspected": rows[:0], "suggested": names[:0]}
    model = KNeighborsClassifier(min(NEIGHBORS, len(rows) - int(np.bincount(fold_of_N).max())))
    probability_NK = cross_val_predict(
        model, features_ND[rows], codes, cv=PredefinedSplit(fold_of_N), method="predict_proba"
    )
    suspected = find_label_issues(codes, probability_NK, return_indices_ranked_by="self_confidence", n_jobs=1)
    return {
        "judged": rows,
        "suspected": rows[suspected],
        "suggested": names[probability_NK[suspected].argmax(axis=1)],
    }


def _judged(classes_N: np.ndarray, keys_N: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that can be judged and the fold of each: of classes that every other fold can tell of."""
    rows = np.flatnonzero(labelled(classes_N))
    if len(rows) > MOST_IMAGES:
        rng = np.random.default_rng(derive_seed(seed, "label errors"))
        rows = np.sort(rng.choice(rows, MOST_IMAGES, replace=False))
    _, codes, counts = np.unique(classes_N[rows].astype(str), return_inverse=True, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    rows = rows[(counts[codes] >= FOLDS) & np.isin(codes, largest)]
    fold_of_N = folds_of(classes_N[rows].astype(str), keys_N[rows], seed, FOLDS)
    kept = in_every_training(classes_N[rows].astype(str), fold_of_N)
    return rows[kept], fold_of_N[kept]
