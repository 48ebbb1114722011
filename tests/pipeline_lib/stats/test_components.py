import warnings
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.data.rows import Images
from pipeline_lib.stats import components
from pipeline_lib.stats.components import batches, pixel_components, pixels


def noise(num: int, side: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, side, side, 1), np.uint8)


def test_pixels_are_averaged_down_to_32_px() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    small = pixels(images).reshape(2, 32, 32, 3)
    np.testing.assert_allclose(small, images.reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4)) / 255, atol=0.51 / 255)
    assert pixels(images[:, :33, :33, :1]).shape == (2, 17 * 17)
    assert (pixels(images[:, :32, :32]).reshape(2, 32, 32, 3) == images[:, :32, :32].astype(np.float32) / 255).all()


def test_components_keep_distances_and_are_the_same_every_time() -> None:
    source, target = noise(120), noise(60, seed=1)
    one, two = pixel_components([source, target], 0, num_components=144)
    flat = pixels(source)
    expected = np.linalg.norm(flat[:5, None] - flat[None, 5:10], axis=2)
    np.testing.assert_allclose(np.linalg.norm(one[:5, None] - one[None, 5:10], axis=2), expected, rtol=1e-3)
    again = pixel_components([source, target], 0, num_components=144)
    assert (one == again[0]).all()
    assert (two == again[1]).all()


def test_images_on_disk_are_read_a_bounded_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(50)
    np.save(tmp_path / "images.npy", images)
    stored = Images(tmp_path / "images.npy")
    expected = pixel_components([images, images[:9]], 0)
    monkeypatch.setattr(components, "BATCH_BYTES", 7 * 144)
    assert [len(part) for part in batches(stored)] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate(list(batches(stored, np.array([4, 2])))), images[[4, 2]])
    found = pixel_components([stored, images[:9]], 0)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-4)


@pytest.mark.parametrize("num", [1, 5])
def test_images_that_are_all_equal_have_one_component_of_zeros(num: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pixel_components([np.full((num, 4, 4, 1), 7, np.uint8)], 0)
    np.testing.assert_array_equal(found[0], np.zeros((num, 1)))
