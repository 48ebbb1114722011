"""The accuracy of classifiers on images that they did not learn from."""

import math
from collections.abc import Callable

import numpy as np

from pipeline_lib.rank.sets import Examples
from pipeline_lib.stats.folds import folds_of, in_every_training

FOLDS = 5


def held_out_accuracy(examples: Examples, seed: int, answer: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    """Return the balanced accuracy of ``answer`` over five folds, in which images of one key are together.

    ``answer`` takes the rows to learn from and those to answer for (int64), and gives the classes of the latter. Images
    of a class that is in one fold alone are not judged; NaN where none can be.
    """
    fold_of_N = folds_of(examples.classes_N, examples.keys_N, seed, FOLDS)
    judged_N = in_every_training(examples.classes_N, fold_of_N)
    if not judged_N.any():
        return math.nan
    answers_N = np.empty_like(examples.classes_N)
    for fold in np.unique(fold_of_N[judged_N]):
        held_out = np.flatnonzero(judged_N & (fold_of_N == fold))
        answers_N[held_out] = answer(np.flatnonzero(judged_N & (fold_of_N != fold)), held_out)
    right_N = answers_N == examples.classes_N
    _, class_of_N = np.unique(examples.classes_N[judged_N], return_inverse=True)
    return float(np.mean(np.bincount(class_of_N, right_N[judged_N]) / np.bincount(class_of_N)))
