"""Small datasets for tests, made in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pipeline_lib.data.dataset import Dataset
from pipeline_lib.data.ingest import ingest
from pipeline_lib.data.samples import Reading, Sample


def dataset(
    images_NHW: np.ndarray,
    labels: Mapping[str, Sequence[Any]] | None = None,
    kinds: Mapping[str, str] | None = None,
    split: Sequence[str] | None = None,
) -> Dataset:
    """Ingest grey images (uint8 ``[N, S, S]``); labels are multiclass where ``kinds`` does not say otherwise."""
    labels = labels or {}
    samples = [
        Sample(
            f"{row}.png",
            lambda image=image: Image.fromarray(image),
            {name: values[row] for name, values in labels.items()},
            split[row] if split else None,
        )
        for row, image in enumerate(images_NHW)
    ]
    kinds = kinds or dict.fromkeys(labels, "multiclass")
    images, table, card = ingest(
        Reading(samples, tuple(labels)), kinds, size=images_NHW.shape[1], channels=1, content=images_NHW.shape[1],
        background=0, invert=False, max_broken=0, test_fraction=0.5, limit=None, seed=0,
    )  # fmt: skip
    return Dataset(images, table, card)


def squares(num: int, side: int = 12, seed: int = 0, classes: int = 3) -> tuple[np.ndarray, list[str]]:
    """Draw ``num`` noisy images, each with a light square at one of ``classes`` places; return them and the places."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (num, side, side), np.uint8)
    places = rng.integers(0, classes, num)
    for image, place in zip(images, places, strict=True):
        image[3 * place : 3 * place + 3, 3 * place : 3 * place + 3] += 150
    return images, [f"at {place}" for place in places]


def plain(values: pd.Series | np.ndarray) -> list[Any]:
    """Return the values as a list, nulls as None."""
    return [None if pd.isna(value) else value for value in values]
