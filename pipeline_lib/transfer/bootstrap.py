"""Intervals by resampling images, in pairs: two methods are always compared on the same resampled images."""

from collections.abc import Iterator

import numpy as np

# Resamples drawn at once, which bounds the memory.
BLOCK = 100


def resampled_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the mean of ``values`` in each of so many bootstrap resamples, float64 ``[resamples]``.

    ``values`` is ``[N]``, a value for each image, or ``[R, N]`` with a row for each random draw; then draws and
    images are resampled both, independently (the pigeonhole bootstrap, Owen 2007). NaN is no value. Two calls
    with one shape and seed resample alike: the difference of their results is a paired one.
    """
    values_RN = np.atleast_2d(values)
    known_RN = ~np.isnan(values_RN)
    filled_RN = np.where(known_RN, values_RN, 0.0)
    means = []
    draws, images = values_RN.shape
    for draws_BR, images_BN in _counts(draws, images, resamples, seed):
        total = ((draws_BR @ filled_RN) * images_BN).sum(axis=1)
        count = ((draws_BR @ known_RN) * images_BN).sum(axis=1)
        means.append(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
    return np.concatenate(means)


def percentile_interval(samples: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """Return the 2.5th and 97.5th percentile of bootstrap samples (NaN left out), or (None, None) of nothing."""
    known = samples[np.isfinite(samples)]
    if not len(known):
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def mean_interval(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float] | tuple[None, None]:
    """Return the 95% percentile interval of the mean of ``values`` (see resampled_means)."""
    return percentile_interval(resampled_means(values, resamples, seed))


def _counts(draws: int, images: int, resamples: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield in blocks how often each draw and each image is in each resample."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, BLOCK):
        size = min(BLOCK, resamples - start)
        draws_BR, images_BN = (rng.multinomial(n, np.full(n, 1 / n), size=size) for n in (draws, images))
        yield draws_BR.astype(np.float64), images_BN.astype(np.float64)
