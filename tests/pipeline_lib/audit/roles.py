"""Roles for tests, made in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.data.roles import Role
from pipeline_lib.labels import KINDS


def role(
    name: str,
    datasets: Mapping[str, np.ndarray],
    labels: Mapping[str, Sequence[Any]] | None = None,
    kinds: Mapping[str, str] | None = None,
    split: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
) -> Role:
    """Make a role of grey images (uint8 ``[N, S, S]``) by dataset; labels are multiclass where ``kinds`` is silent."""
    images = np.concatenate(list(datasets.values()))[..., None]
    of = [dataset for dataset, part in datasets.items() for _ in part]
    ids = [f"{dataset}/{row}" for dataset, part in datasets.items() for row in range(len(part))]
    columns = {
        f"label.{label}": np.array(values, np.float64 if KINDS[kind].stored == "float64" else object)
        for label, values in (labels or {}).items()
        for kind in [(kinds or {}).get(label, "multiclass")]
    }
    table = pd.DataFrame(
        {
            "dataset": of,
            "id": ids,
            "path": [f"{one}.png" for one in ids],
            "split": split or ["train"] * len(images),
            "key": keys or ids,
            "flags": ["blank" if image.min() == image.max() else "" for image in images],
            **columns,
        }
    )
    described = {label: {"kind": (kinds or {}).get(label, "multiclass")} for label in labels or {}}
    cards = {dataset: {"quarantined": [], "labels": dict(described)} for dataset in datasets}
    return Role(name, images, table, cards)


def squares(num: int, side: int = 12, seed: int = 0, classes: int = 3) -> tuple[np.ndarray, list[str]]:
    """Draw ``num`` noisy images, each with a light square at one of ``classes`` places; return them and the places."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (num, side, side), np.uint8)
    places = rng.integers(0, classes, num)
    for image, place in zip(images, places, strict=True):
        image[3 * place : 3 * place + 3, 3 * place : 3 * place + 3] += 150
    return images, [f"at {place}" for place in places]
