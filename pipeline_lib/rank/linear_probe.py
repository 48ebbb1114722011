"""A linear probe: what a linear model of the features gets right."""

import numpy as np

from pipeline_lib.evaluate.probes import probe, probe_features
from pipeline_lib.rank.held_out import held_out_accuracy
from pipeline_lib.rank.sets import Examples


def linear_probe(examples: Examples, seed: int) -> float:
    """Return the balanced accuracy, on held-out folds, of the logistic regression that the evaluation uses too."""
    x_ND = probe_features(examples.features_ND, np.arange(len(examples)))

    def answer(learnt: np.ndarray, asked: np.ndarray) -> np.ndarray:
        (answers,) = probe(x_ND, examples.classes_N, "multiclass", [learnt], asked)
        return answers.astype(np.int64)

    return held_out_accuracy(examples, seed, answer)
