"""Nearest neighbours: whether images of a class lie together."""

import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from pipeline_lib.rank.held_out import held_out_accuracy
from pipeline_lib.rank.sets import Examples
from pipeline_lib.stats.neighbours import normalise

NEIGHBORS = 5


@threadpool_limits.wrap(limits=1)
def knn(examples: Examples, seed: int) -> float:
    """Return the balanced accuracy, on held-out folds, of the most frequent class among five cosine neighbours."""
    x_ND = normalise(examples.features_ND)

    def answer(learnt: np.ndarray, asked: np.ndarray) -> np.ndarray:
        model = KNeighborsClassifier(min(NEIGHBORS, len(learnt)))
        return model.fit(x_ND[learnt], examples.classes_N[learnt]).predict(x_ND[asked])

    return held_out_accuracy(examples, seed, answer)
