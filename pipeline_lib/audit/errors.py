"""Labels that look wrong beside the images most like theirs, and how many of them are."""

from dataclasses import dataclass

import numpy as np
from cleanlab.filter import find_label_issues
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from pipeline_lib.audit.plateau import Plateau, plateau
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.labels.kind import labelled
from pipeline_lib.stats.folds import folds_of, in_every_training

FOLDS = 5
NEIGHBORS = 10
# Neighbours take time with the square of the images, and probabilities memory with images times classes.
MOST_IMAGES = 20_000
MOST_CLASSES = 1000
# Of the labels that are called wrong, no larger share may be expected to be right.
MOST_FALSE = 0.4
# Shares of labels that are flipped, to see from which on it is noticed.
FLIPPED = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Suspicion:
    """Labels that look wrong, and how far they can be told from images between classes that look alike.

    ``judged`` and ``doubtful`` are row numbers (int64), ``suggested`` has for each doubtful row the most probable class
    (text). The first ``num_suspected`` of the doubtful are believed to be wrong, but for the share ``expected_false``.
    ``rate`` is the share of wrong labels among the judged, and ``low`` what it is at least: 0 where classes that look
    alike explain all that is seen. ``noticed_from`` is the smallest of FLIPPED at which labels flipped here are seen to
    be wrong, and ``recall`` the share of those that is found. None is what cannot be known.
    """

    judged: np.ndarray
    doubtful: np.ndarray
    suggested: np.ndarray
    num_suspected: int = 0
    rate: float | None = None
    low: float | None = None
    expected_false: float | None = None
    noticed_from: float | None = None
    recall: float | None = None


@threadpool_limits.wrap(limits=1)
def suspected_errors(features_ND: np.ndarray, classes_N: np.ndarray, keys_N: np.ndarray, seed: int) -> Suspicion:
    """Find labels that look wrong by confident learning (Northcutt et al. 2021, cleanlab), and say how many are.

    ``classes_N`` holds text, or a null for "not labelled". The probabilities are the shares of the classes among
    an image's ten nearest neighbours in the other folds, which have no image of its key: on digits with 5 % of the
    labels flipped that finds more of them, with fewer false alarms, than a linear classifier, which cannot learn a
    class such as "has a loop". Only labelled images of classes with at least five images can be judged, and of those
    at most 20,000 at random of the 1,000 largest classes. What is found is believed from as many votes on as leave
    MOST_FALSE of it right at most (:func:`~pipeline_lib.audit.plateau.plateau`).
    """
    rows, fold_of_N = judged(classes_N, keys_N, seed)
    names, codes_N = np.unique(classes_N[rows].astype(str), return_inverse=True)
    if len(names) < 2:
        return Suspicion(rows[:0], rows[:0], names[:0])
    neighbours_NK = neighbours(features_ND[rows], fold_of_N)
    doubtful, num_suspected, false, fitted = _search(codes_N, neighbours_NK)
    noticed, recall = _noticed(codes_N, neighbours_NK, seed)
    return Suspicion(
        judged=rows,
        doubtful=rows[doubtful],
        suggested=names[votes(codes_N, neighbours_NK)[doubtful].argmax(axis=1)],
        num_suspected=num_suspected,
        rate=fitted.rate,
        low=fitted.low,
        expected_false=false,
        noticed_from=noticed,
        recall=recall,
    )


def _search(codes_N: np.ndarray, neighbours_NK: np.ndarray) -> tuple[np.ndarray, int, float | None, Plateau]:
    """Return doubtful rows, those believed to be wrong first, their number, the share of false ones, and the fit."""
    votes_NC = votes(codes_N, neighbours_NK)
    fitted = plateau(votes_NC.max(axis=1), votes_NC.argmax(axis=1) != codes_N, neighbours_NK.shape[1])
    probability_NC = votes_NC / neighbours_NK.shape[1]
    doubtful = find_label_issues(codes_N, probability_NC, return_indices_ranked_by="self_confidence", n_jobs=1)
    most_D = votes_NC[doubtful].max(axis=1)
    false_D = fitted.false_by_votes[most_D]
    for least in range(neighbours_NK.shape[1] + 1):
        believed = most_D >= least
        if believed.any() and false_D[believed].mean() <= MOST_FALSE:
            order = np.argsort(~believed, kind="stable")
            return doubtful[order], int(believed.sum()), float(false_D[believed].mean()), fitted
    return doubtful[np.argsort(-most_D.astype(np.int64), kind="stable")], 0, None, fitted


def _noticed(codes_N: np.ndarray, neighbours_NK: np.ndarray, seed: int) -> tuple[float | None, float | None]:
    """Flip labels at random, and return the smallest share that is noticed and the share of those that is found."""
    rng = np.random.default_rng(derive_seed(seed, "flipped labels"))
    num_classes = int(codes_N.max()) + 1
    for share in FLIPPED:
        changed = rng.permutation(len(codes_N))[: round(share * len(codes_N))]
        flipped_N = codes_N.copy()
        flipped_N[changed] = (flipped_N[changed] + rng.integers(1, num_classes, len(changed))) % num_classes
        doubtful, num_suspected, _, fitted = _search(flipped_N, neighbours_NK)
        if num_suspected and fitted.low > 0:
            return share, float(np.isin(changed, doubtful[:num_suspected]).mean())
    return None, None


def neighbours(features_ND: np.ndarray, fold_of_N: np.ndarray) -> np.ndarray:
    """Return the nearest rows of other folds for each row, int64 ``[N, K]``, K 10 or as many as there are."""
    most = min(NEIGHBORS, len(fold_of_N) - int(np.bincount(fold_of_N).max()))
    neighbours_NK = np.empty((len(fold_of_N), most), dtype=np.int64)
    for fold in np.unique(fold_of_N):
        held_out, others = np.flatnonzero(fold_of_N == fold), np.flatnonzero(fold_of_N != fold)
        search = NearestNeighbors(n_neighbors=most).fit(features_ND[others])
        neighbours_NK[held_out] = others[search.kneighbors(features_ND[held_out], return_distance=False)]
    return neighbours_NK


def votes(codes_N: np.ndarray, neighbours_MK: np.ndarray) -> np.ndarray:
    """Return how many of the neighbours of an image, rows of ``codes_N``, are of each class, uint8 ``[M, C]``."""
    votes_MC = np.zeros((len(neighbours_MK), int(codes_N.max()) + 1), np.uint8)
    rows_M = np.arange(len(neighbours_MK))
    for neighbour_M in neighbours_MK.T:
        votes_MC[rows_M, codes_N[neighbour_M]] += 1
    return votes_MC


def judged(classes_N: np.ndarray, keys_N: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
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
