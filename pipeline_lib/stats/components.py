"""A short description of every image that needs no model: the principal components of its pixels."""

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
def pixel_components(sets: Sequence[Images | np.ndarray], seed: int, num_components: int = 50) -> list[np.ndarray]:
    """Return the leading principal components of the pixels of each set, float32 ``[N, K]``.

    ``sets`` are uint8 ``[N, H, W, C]`` of one frame, of which a batch at a time is in memory. The components are
    those of all sets together, fitted on at most 5,000 random images of each. No label is read.
    """
    rng = np.random.default_rng(derive_seed(seed, "pixel components"))
    drawn = [np.sort(rng.choice(len(images), min(FIT_ON, len(images)), replace=False)) for images in sets]
    fitted_on = np.concatenate(
        [pixels(part) for images, rows in zip(sets, drawn, strict=True) for part in batches(images, rows)]
    )
    if (fitted_on == fitted_on[0]).all():
        # There is no direction in which they differ.
        return [np.zeros((len(images), 1), np.float32) for images in sets]
    kept = min(num_components, *fitted_on.shape)
    pca = PCA(kept, svd_solver="randomized", random_state=derive_seed(seed, "pca")).fit(fitted_on)
    return [np.concatenate([pca.transform(pixels(part)) for part in batches(images)]) for images in sets]


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
