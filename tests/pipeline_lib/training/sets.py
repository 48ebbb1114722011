"""Images on disk for tests."""

from pathlib import Path

import numpy as np

from pipeline_lib.data.rows import Images, Rows


def random_images(num: int, size: int = 6, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, size, size, channels), dtype=np.uint8)


def stored(folder: Path, images_NHWC: np.ndarray, rows: np.ndarray | None = None) -> Rows:
    path = folder / "images.npy"
    np.save(path, images_NHWC)
    return Rows(Images(path), np.arange(len(images_NHWC)) if rows is None else rows)
