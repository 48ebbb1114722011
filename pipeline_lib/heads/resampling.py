"""Images that count more or less than others, for what counts every row alike."""

import numpy as np

from pipeline_lib.core.seeds import derive_seed


def resampled(weights_N: np.ndarray, seed: int) -> np.ndarray:
    """Return N rows (int64, rising) in which each occurs in proportion to its weight, rounded up or down at random.

    Systematic resampling (Kitagawa 1996): places a step apart, begun at random, so that chance does nothing but round.
    """
    num = len(weights_N)
    offset = np.random.default_rng(derive_seed(seed, "resampled")).random()
    ends_N = np.cumsum(weights_N) * (num / weights_N.sum())
    rows: np.ndarray = np.searchsorted(ends_N, np.arange(num) + offset, side="right").clip(max=num - 1)
    return rows
