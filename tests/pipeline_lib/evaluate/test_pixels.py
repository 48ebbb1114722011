from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.data.rows import Images
from pipeline_lib.evaluate import pixels
from pipeline_lib.evaluate.pixels import pixel_features


def images(folder: Path, num: int, side: int, seed: int) -> Images:
    path = folder / f"{seed}.npy"
    np.save(path, np.random.default_rng(seed).integers(0, 256, (num, side, side, 3), np.uint8))
    return Images(path)


def test_small_images_are_their_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "BATCH", 4)
    target, source = images(tmp_path, 10, 8, 0), images(tmp_path, 7, 8, 1)
    x, s, what = pixel_features(target, source, np.array([5, 2]), seed=0)
    np.testing.assert_array_equal(x, target[:].reshape(10, -1) / np.float32(255))
    np.testing.assert_array_equal(s, source[np.array([5, 2])].reshape(2, -1) / np.float32(255))
    assert x.dtype == s.dtype == np.float32 and what == "raw pixels"


def test_large_images_are_their_principal_components(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MOST_PIXELS", 100)
    target, source = images(tmp_path, 30, 8, 0), images(tmp_path, 20, 8, 1)
    x, s, what = pixel_features(target, source, np.arange(0, 20, 2), seed=0)
    assert len(x) == 30 and len(s) == 10 and x.shape[1] == s.shape[1] and "principal components" in what
    flat = target[:].reshape(30, -1).astype(np.float64)
    # Distances between images are about those between their pixels, whatever the axes.
    apart = [np.linalg.norm(one[:, None] - one[None], axis=2)[np.triu_indices(30, 1)] for one in (flat, x)]
    assert np.corrcoef(*apart)[0, 1] > 0.9
