from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline_lib.data.readers import READERS
from pipeline_lib.data.readers.embedded import stroke_thickness


@pytest.mark.parametrize(("name", "num", "side"), [("mnist5k", 5000, 28), ("digits", 1797, 8)])
def test_the_embedded_sets_are_whole(name: str, num: int, side: int) -> None:
    reading = READERS[name](Path(), None, ())
    assert len(reading.samples) == num
    assert len({sample.path for sample in reading.samples}) == num
    pictures = [sample.load() for sample in reading.samples]
    assert {picture.size for picture in pictures} == {(side, side)}
    assert np.mean([np.asarray(picture).max() for picture in pictures]) > 240
    for sample in reading.samples:
        assert sample.labels["has_loop"] == (sample.labels["digit"] in (0, 6, 8, 9))
    assert {sample.labels["digit"] for sample in reading.samples} == set(range(10))


@pytest.mark.parametrize("width", [2, 3, 4, 6])
@pytest.mark.parametrize("upright", [False, True])
def test_stroke_thickness_measures_the_width_of_a_bar(width: int, upright: bool) -> None:
    image = np.zeros((28, 28, 1), np.uint8)
    image[10 : 10 + width, 2:26] = 255
    image = image.transpose(1, 0, 2) if upright else image
    assert stroke_thickness(image) == pytest.approx(width, rel=0.15)


def test_stroke_thickness_grows_with_a_ring_and_is_unknown_without_ink() -> None:
    measured = []
    for width in (2, 3, 4, 5):
        picture = Image.new("L", (28, 28))
        ImageDraw.Draw(picture).ellipse((3, 3, 24, 24), outline=255, width=width)
        measured.append(stroke_thickness(np.asarray(picture)[..., None]))
    assert measured == sorted(measured) and measured[-1] - measured[0] > 2
    assert stroke_thickness(np.zeros((28, 28, 1), np.uint8)) is None
