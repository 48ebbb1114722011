"""Raw pixels as a representation: the baseline without any learning."""

import numpy as np

from pipeline_lib.data.rows import Images
from pipeline_lib.stats.components import pixel_components

# Numbers an image; larger ones are told by their principal components, which for many images fit into memory.
MOST_PIXELS = 3072
COMPONENTS = 256
BATCH = 1024


def pixel_features(
    target: Images, source: Images, source_rows: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return all target images and some rows of the source as float32 ``[N, D]`` and ``[S, D]``, and what D are."""
    if int(np.prod(target.shape[1:])) <= MOST_PIXELS:
        return _flat(target, np.arange(len(target))), _flat(source, source_rows), "raw pixels"
    target_ND, source_SD = pixel_components([target, source[source_rows]], seed, COMPONENTS)
    return target_ND, source_SD, f"{target_ND.shape[1]} principal components of the pixels"


def _flat(images: Images, rows: np.ndarray) -> np.ndarray:
    flat = np.empty((len(rows), int(np.prod(images.shape[1:]))), np.float32)
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        flat[start : start + BATCH] = images[part].reshape(len(part), -1) / np.float32(255)
    return flat
