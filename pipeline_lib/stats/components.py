"""A short description of every image: the principal components of its pixels, which need no model, or of features."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Images

# Detail beyond this many px a side adds memory and noise, not a domain or a class that a linear model sees.
MAX_SIDE = 32
# Images of each set that the components are fitted on.
FIT_ON = 5000
# Images are read so many at a time that they take this much memory at most.
BATCH_BYTES = 2**26


@threadpool_limits.wrap(limits=1)
def pixel_components(
    sets: Sequence[Images | np.ndarray], seed: int, num_components: int = 50, rows: Sequence[np.ndarray] | None = None
) -> list[np.ndarray]:
    """Return the leading principal components of the pixels of each set, float32 ``[N, K]``.

    ``sets`` are uint8 ``[N, H, W, C]`` of one frame, of which a batch at a time is in memory; ``rows`` (int64 each)
    takes some images of each. The components are those of all sets together, fitted on at most 5,000 random images of
    each. No label is read.
    """
    taken = [np.arange(len(images)) for images in sets] if rows is None else rows
    rng = np.random.default_rng(derive_seed(seed, "pixel components"))
    drawn = [which[np.sort(rng.choice(len(which), min(FIT_ON, len(which)), replace=False))] for which in taken]
    fitted_on = np.concatenate(
        [pixels(part) for images, which in zip(sets, drawn, strict=True) for part in batches(images, which)]
    )
    pca = _principal(fitted_on, seed, num_components)
    if pca is None:
        return [np.zeros((len(which), 1), np.float32) for which in taken]
    return [
        np.concatenate([pca.transform(pixels(part)) for part in batches(images, which)])
        for images, which in zip(sets, taken, strict=True)
    ]


@threadpool_limits.wrap(limits=1)
def components(sets: Sequence[np.ndarray], seed: int, num_components: int = 50) -> list[np.ndarray]:
    """Return the leading principal components of the features of each set (float32 ``[N, D]``), float32 ``[N, K]``.

    As with :func:`pixel_components` they are those of all sets together, fitted on a part of them.
    """
    rng = np.random.default_rng(derive_seed(seed, "components"))
    drawn = [features_ND[rng.permutation(len(features_ND))[:FIT_ON]] for features_ND in sets]
    pca = _principal(np.concatenate(drawn), seed, num_components)
    if pca is None:
        return [np.zeros((len(features_ND), 1), np.float32) for features_ND in sets]
    return [pca.transform(features_ND) for features_ND in sets]


def _principal(fitted_on: np.ndarray, seed: int, num_components: int) -> PCA | None:
    """Return the principal components of rows, None where there is no direction in which they differ."""
    if (fitted_on == fitted_on[0]).all():
        return None
    kept = min(num_components, *fitted_on.shape)
    return PCA(kept, svd_solver="randomized", random_state=derive_seed(seed, "pca")).fit(fitted_on)


def batches(images: Images | np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield the images of ``rows`` (all of them for None) as uint8 ``[B, H, W, C]``, a bounded memory at a time."""
    total = len(images) if rows is None else len(rows)
    size = max(1, BATCH_BYTES // int(np.prod(images.shape[1:])))
    for start in range(0, total, size):
        part = slice(start, start + size)
        yield images[part if rows is None else rows[part]]


def pixels(images: np.ndarray) -> np.ndarray:
    """Return images (uint8 ``[N, H, W, C]``) as float32 ``[N, D]`` in 0-1, averaged down to 32 px a side at most."""
    step = -(-max(images.shape[1:3]) // MAX_SIDE)
    if step > 1:
        images = np.stack([_reduced(image, step) for image in images])
    return images.reshape(len(images), -1).astype(np.float32) / 255


def _reduced(image_HWC: np.ndarray, step: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image_HWC.squeeze(axis=2) if image_HWC.shape[2] == 1 else image_HWC).reduce(step))
