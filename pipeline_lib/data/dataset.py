"""The dataset artifact: images.npy, table.parquet and card.json in one folder."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.core.errors import UserError, nearest
from pipeline_lib.core.files import read_json, write_json, write_npy, write_parquet

LABEL_PREFIX = "label."
COLUMNS = ("id", "path", "sha256", "split", "group", "flags")


@dataclass(frozen=True)
class Dataset:
    """Framed images with their table.

    ``images`` is uint8 ``[N, H, W, C]``, memory-mapped. ``table`` has N rows and the columns id, path,
    sha256 (of the original bytes), split (train or test), group, flags, and ``label.<name>`` for just
    the labels that were asked for. ``card`` is the content of card.json.
    """

    images: np.ndarray
    table: pd.DataFrame
    card: Mapping[str, Any]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.table)

    @property
    def labels(self) -> list[str]:
        """The names of the labels that were read."""
        return [name.removeprefix(LABEL_PREFIX) for name in self.table if name.startswith(LABEL_PREFIX)]

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers (int64) of the split "train" or "test"."""
        return np.flatnonzero(self.table["split"].to_numpy() == split)

    def label(self, name: str) -> np.ndarray:
        """Return the values of a label as float64 ``[N]`` or object ``[N]``; NaN or None is "not labelled"."""
        return self.table[LABEL_PREFIX + name].to_numpy()


def write_dataset(folder: Path, images: np.ndarray, table: pd.DataFrame, card: Mapping[str, Any]) -> None:
    """Write the three files of a dataset into ``folder``."""
    write_npy(folder / "images.npy", images)
    write_parquet(folder / "table.parquet", table)
    write_json(folder / "card.json", card)


def present_labels(folder: Path, labels: Iterable[str]) -> list[str]:
    """Return those of ``labels`` that the dataset in ``folder`` has, in their order."""
    known = read_json(folder / "card.json")["labels"]
    return [name for name in labels if name in known]


def read_dataset(folder: Path, labels: Sequence[str] = ()) -> Dataset:
    """Read a dataset with only the named labels: the others never enter the process.

    Raises UserError for a label that the dataset does not have.
    """
    card = read_json(folder / "card.json")
    for name in labels:
        if name not in card["labels"]:
            raise UserError(
                f"{folder} has no label '{name}': it has {', '.join(card['labels']) or 'none'}"
                f"{nearest(name, card['labels'])}"
            )
    columns = [*COLUMNS, *(LABEL_PREFIX + name for name in labels)]
    table = pd.read_parquet(folder / "table.parquet", columns=columns)
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    return Dataset(images, table, card)
