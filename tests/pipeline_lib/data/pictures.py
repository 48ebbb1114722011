"""Readings of small pictures, made in memory, and their ingest."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pipeline_lib.data.dataset import Dataset, read_dataset
from pipeline_lib.data.ingest import ingest
from pipeline_lib.data.samples import Reading, Sample

SETTINGS: dict[str, Any] = {
    "size": 8, "channels": 1, "content": 8, "background": 0, "invert": False, "max_broken": 0.5,
    "test_fraction": 0.3, "limit": None, "seed": 0,
}  # fmt: skip


def png(value: int, channels: int = 1, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(value).integers(0, 256, (side, side, channels), np.uint8)
    Image.fromarray(noise.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def reading_of(
    contents: Sequence[Any], labels: dict[str, list[Any]] | None = None, **columns: Sequence[Any]
) -> Reading:
    labels = labels or {}
    samples = [
        Sample(
            f"{index}.png",
            _loader(content),
            {name: values[index] for name, values in labels.items()},
            **{name: values[index] for name, values in columns.items()},
        )
        for index, content in enumerate(contents)
    ]
    return Reading(samples, tuple(labels))


def run(folder: Path, reading: Reading, kinds: dict[str, str] | None = None, **changes: Any) -> Dataset:
    """Ingest a reading and return the dataset with all its labels, its card as :func:`ingest` returned it."""
    card = ingest(reading, kinds or {}, folder, **{**SETTINGS, **changes})
    return replace(read_dataset(folder, list(kinds or {})), card=card)


def plain(values: pd.Series | np.ndarray) -> list[Any]:
    """Return the values as a list, nulls as None."""
    return [None if pd.isna(value) else value for value in values]


def _loader(content: bytes | Image.Image) -> Callable[[], bytes | Image.Image]:
    return lambda: content
