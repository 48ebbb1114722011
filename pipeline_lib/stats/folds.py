"""Parts of a set that take turns at being held out."""

import numpy as np

from pipeline_lib.core.seeds import derive_seed


def folds_of(classes_N: np.ndarray, keys_N: np.ndarray, seed: int, num_folds: int) -> np.ndarray:
    """Return the fold of each image, int64 ``[N]``: images of one key are in one, and classes in all about alike.

    Keys are dealt out in turn, class by class and the largest first; a key of several classes counts as one of the
    first of them. With a key for each image, that is a stratified k-fold.
    """
    _, class_of_N = np.unique(classes_N, return_inverse=True)
    _, key_of_N, size_of_K = np.unique(keys_N, return_inverse=True, return_counts=True)
    class_of_K = np.full(len(size_of_K), len(classes_N))
    np.minimum.at(class_of_K, key_of_N, class_of_N)
    chance_of_K = np.random.default_rng(derive_seed(seed, "folds")).permutation(len(size_of_K))
    fold_of_K = np.empty(len(size_of_K), dtype=np.int64)
    fold_of_K[np.lexsort((chance_of_K, -size_of_K, class_of_K))] = np.arange(len(size_of_K)) % num_folds
    return fold_of_K[key_of_N]


def in_every_training(classes_N: np.ndarray, folds_N: np.ndarray) -> np.ndarray:
    """Return which images (bool ``[N]``) are of a class that is left whichever fold is held out."""
    _, class_of_N = np.unique(classes_N, return_inverse=True)
    first_of_C = np.full(class_of_N.max(initial=-1) + 1, folds_N.max(initial=0) + 1)
    np.minimum.at(first_of_C, class_of_N, folds_N)
    spread_of_C = np.zeros(len(first_of_C), dtype=bool)
    spread_of_C[class_of_N[folds_N != first_of_C[class_of_N]]] = True
    return spread_of_C[class_of_N]
