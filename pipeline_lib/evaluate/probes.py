"""Linear probes: how far a few labels of the target go on each representation."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.labels.multilabel import join, split
from pipeline_lib.stats.neighbours import normalise

# Root mean square length of the features: with scikit-learn's default penalty it sets how strong that is. It is
# the one for all representations; 4 is best for raw pixels of the embedded source, so the baseline has no handicap.
LENGTH = 4.0
# Labels that are no classes are given in all, and so many times the number that classes would be given each.
AS_CLASSES = 10


class Draws(NamedTuple):
    """Rows (int64) whose label a probe may use, one array a draw; ``short`` where a class could not give its number."""

    rows: list[np.ndarray]
    short: bool


def probe_features(x_ND: np.ndarray, train_rows: np.ndarray) -> np.ndarray:
    """Return what probes see, float64 ``[N, D]``: rows of length 1, centred, scaled to the length LENGTH.

    Centre and scale come from all images of the train split and from no label.
    """
    unit = normalise(x_ND).astype(np.float64)
    centred = unit - unit[train_rows].mean(axis=0)
    spread = np.sqrt(np.square(centred[train_rows]).sum(axis=1).mean())
    return centred * (LENGTH / spread if spread > 0 else 1.0)


def draw_labels(
    truth_N: np.ndarray, train_rows: np.ndarray, amounts: Sequence[int], repeats: int, seed: int, by_class: bool
) -> dict[int, Draws]:
    """Draw which rows of the train split show their label: ``{labels a class: draws}``.

    In one draw the rows for fewer labels are among those for more. Classes are those of the train split; one with
    fewer labels than asked for gives all it has. Without classes (``by_class`` False), AS_CLASSES times as many are
    drawn in all. There are no draws where the train split has no label.
    """
    truth = pd.Series(truth_N[train_rows], index=train_rows, dtype="object").dropna()
    if truth.empty:
        return {}
    classes = truth if by_class else pd.Series("", index=truth.index)
    rows_of = [rows.to_numpy() for _, rows in truth.index.to_series().groupby(classes)]
    wanted = {amount: amount * (1 if by_class else AS_CLASSES) for amount in sorted(set(amounts))}
    drawn = {amount: Draws([], min(map(len, rows_of)) < most) for amount, most in wanted.items()}
    for repeat in range(repeats):
        rng = np.random.default_rng(derive_seed(seed, "probes", repeat))
        shuffled = [rng.permutation(rows) for rows in rows_of]
        for amount, most in wanted.items():
            drawn[amount].rows.append(np.concatenate([rows[:most] for rows in shuffled]))
    return drawn


@threadpool_limits.wrap(limits=1)  # a probe is small: threads cost ten times what they bring
def probe(
    x_ND: np.ndarray, truth_N: np.ndarray, kind: str, draws: Sequence[np.ndarray], test_rows: np.ndarray
) -> list[np.ndarray]:
    """Return for each draw what a linear model answers for the test rows: text ``[T]``, or float64 for regression.

    ``x_ND`` are probe_features. Logistic regression for classes, one for each tag, ridge regression for numbers; the
    penalty is scikit-learn's default, nothing is tuned. A class that the draw does not have is never answered.
    """
    return [ANSWERS.get(kind, _classes)(x_ND[rows], truth_N[rows], x_ND[test_rows]) for rows in draws]


def _classes(x_ND: np.ndarray, truth_N: np.ndarray, test_TD: np.ndarray) -> np.ndarray:
    names, codes = np.unique(truth_N.astype(str), return_inverse=True)
    answers: np.ndarray = names[_logistic(codes).fit(x_ND, codes).predict(test_TD)].astype(object)
    return answers


def _tags(x_ND: np.ndarray, truth_N: np.ndarray, test_TD: np.ndarray) -> np.ndarray:
    given = [set(split(text)) for text in truth_N]
    names = sorted(set().union(*given))
    if not names:
        return np.full(len(test_TD), join([]), dtype=object)
    has_NK = np.array([[name in tags for name in names] for tags in given], dtype=np.int64)
    told_TK = np.stack([_logistic(has_N).fit(x_ND, has_N).predict(test_TD) for has_N in has_NK.T], axis=1)
    return np.array([join([name for name, has in zip(names, row, strict=True) if has]) for row in told_TK], object)


def _numbers(x_ND: np.ndarray, truth_N: np.ndarray, test_TD: np.ndarray) -> np.ndarray:
    numbers = truth_N.astype(np.float64)
    scale = numbers.std() or 1.0
    answers: np.ndarray = Ridge().fit(x_ND, numbers / scale).predict(test_TD) * scale
    return answers


def _logistic(codes_N: np.ndarray) -> BaseEstimator:
    """Return a logistic regression, or the only class there is."""
    return LogisticRegression(max_iter=1000) if len(np.unique(codes_N)) > 1 else DummyClassifier()


ANSWERS: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "multilabel": _tags,
    "regression": _numbers,
}
