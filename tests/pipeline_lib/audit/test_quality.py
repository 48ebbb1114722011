import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import entropy

from pipeline_lib.audit import quality
from pipeline_lib.audit.quality import CHECKS, poor


def pictures(channels: int, num: int = 200, seed: int = 0) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(num, 16, 16, channels)), (0, 1, 1, 0))
    images: np.ndarray = (128 + 45 * noise / noise.std()).clip(0, 255).astype(np.uint8)
    return images


@pytest.mark.parametrize("channels", [1, 3])
def test_usual_pictures_are_not_poor(channels: int) -> None:
    num, found = poor(pictures(channels), 0)
    assert num == 200 and list(found) == list(CHECKS)
    assert all(not len(rows) for rows in found.values())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("check", CHECKS)
def test_planted_ones_are_found_and_no_other(channels: int, check: str) -> None:
    images = pictures(channels).astype(float)
    rows = [3, 50, 120]
    for row in rows:
        if check == "dark":
            images[row] *= 0.15
        elif check == "bright":
            images[row] = 255 - 0.07 * images[row]
        elif check == "blurred":
            images[row] = 128 + 8 * (gaussian_filter(images[row], (4, 4, 0)) - 128)
        elif check == "empty":
            images[row] = 100
            images[row, 0, 0] = 200
        else:
            images[row] = images[row].mean(axis=-1, keepdims=True)
    _, found = poor(images.clip(0, 255).astype(np.uint8), 0)
    assert sorted(found[check]) == ([] if (check, channels) == ("grey", 1) else rows)


def test_what_the_whole_set_is_like_is_no_fault() -> None:
    dark, grey = pictures(3) // 8, np.repeat(pictures(1), 3, axis=3)
    assert not len(poor(dark, 0)[1]["dark"]) and not len(poor(grey, 0)[1]["grey"])


def test_information_is_the_entropy_of_the_levels() -> None:
    images = pictures(1, 5)
    levels = np.minimum(images / 255 * 32, 31).astype(int).reshape(5, -1)
    expected = [entropy(np.bincount(one), base=2) for one in levels]
    assert CHECKS["empty"].measure(images.astype(np.float32) / 255) == pytest.approx(expected)


def test_images_of_one_colour_are_left_out_and_large_sets_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(1)
    images[7] = 0
    monkeypatch.setattr(quality, "MOST_PIXELS", 1000)
    assert all(7 not in rows for rows in poor(images, 0)[1].values())
    monkeypatch.setattr(quality, "MOST_IMAGES", 20)
    assert poor(images, 0)[0] == 20
    for few in (images[:0], images[7:8], images[:1]):
        assert poor(few, 0)[0] == len(few)
