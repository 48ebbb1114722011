"""Source and target: the datasets of a role as one, with one split across all of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.dataset import IMAGES, LABEL_PREFIX, Dataset, read_dataset
from pipeline_lib.data.rows import Images


@dataclass(frozen=True)
class Role:
    """The images of one role's datasets, one dataset after the other, with their table.

    ``name`` is source or target. ``images`` are uint8 ``[N, H, W, C]`` and ``table`` has N rows with these columns:

    - dataset, and id: "<dataset>/<id>", which no image of another dataset has
    - path, sha256 (of the original bytes), group, flags
    - key: the group, else the sha256. Images of one key are on one side in all datasets
    - split: train or test, where what is test in one dataset of either role is test in all
    - near_test: whether this is an image of the source with the key or the very bytes of a target's test image
    - ``label.<name>``: float64 or text, with nulls, for each label that was asked for, also where no dataset has it

    ``cards`` holds each dataset's card.json. ``moved`` counts the images that are train in their own dataset and test
    because of another one.
    """

    name: str
    images: Images
    table: pd.DataFrame
    cards: Mapping[str, Mapping[str, Any]]
    moved: int = 0

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.table)

    @property
    def labels(self) -> list[str]:
        """The names of the labels that were asked for."""
        return [name.removeprefix(LABEL_PREFIX) for name in self.table if name.startswith(LABEL_PREFIX)]

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers (int64) of the split "train" or "test"."""
        return np.flatnonzero(self.table["split"].to_numpy() == split)

    def label(self, name: str) -> np.ndarray:
        """Return the values of a label, float64 ``[N]`` with NaN or object ``[N]`` with None for "not labelled".

        Where no dataset of the role has the label, all of them are None.
        """
        column = self.table[LABEL_PREFIX + name]
        if pd.api.types.is_float_dtype(column):
            return column.to_numpy(dtype=np.float64)
        return column.astype(object).where(column.notna(), None).to_numpy()

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean and standard deviation of each channel over all images, in 0-1, float64 ``[C]`` each."""
        weights = np.array([card["num_images"] for card in self.cards.values()], dtype=np.float64)
        means, stds = (np.array([card[key] for card in self.cards.values()]) for key in ("mean", "std"))
        mean = np.average(means, axis=0, weights=weights)
        square = np.average(stds**2 + means**2, axis=0, weights=weights)
        return mean, np.sqrt((square - mean**2).clip(0))

    @property
    def mean(self) -> list[float]:
        """The mean of each channel over all images, in 0-1."""
        return self.moments[0].tolist()

    @property
    def std(self) -> list[float]:
        """The standard deviation of each channel over all images, in 0-1."""
        return self.moments[1].tolist()


def read_roles(
    root: Path,
    source: Sequence[str],
    target: Sequence[str],
    labels: Sequence[str] = (),
    target_labels: Sequence[str] | None = None,
) -> tuple[Role, Role]:
    """Read the datasets ``root/<name>`` as source and target, with only the named labels (of the target, its own).

    An image whose key is in the test split of any dataset of either role is test everywhere. Raises UserError for a
    dataset that is missing or damaged, is named twice in one role, or has other frames than the others.
    """
    named = {"source": source, "target": target}
    wanted = {"source": labels, "target": labels if target_labels is None else target_labels}
    datasets = {
        role: {name: read_dataset(root / name, wanted[role]) for name in _once(names, role)}
        for role, names in named.items()
    }
    paths = {role: [root / name / IMAGES for name in names] for role, names in named.items()}
    Images(*paths["source"], *paths["target"])  # refuses datasets of different frames, naming both
    tables = {role: _joined(datasets[role], wanted[role]) for role in named}
    tested = set().union(*(table.loc[table["split"] == "test", "key"] for table in tables.values()))
    moved = {}
    for role, table in tables.items():
        test = table["key"].isin(tested)
        moved[role] = int((test & (table["split"] != "test")).sum())
        table["split"] = np.where(test, "test", "train")
    scored = tables["target"][tables["target"]["split"] == "test"]
    tables["target"]["near_test"] = False
    near = [tables["source"][column].isin(scored[column]) for column in ("key", "sha256")]
    tables["source"]["near_test"] = near[0] | near[1]
    cards = {role: {name: dataset.card for name, dataset in datasets[role].items()} for role in named}
    roles = [Role(role, Images(*paths[role]), tables[role], cards[role], moved[role]) for role in named]
    return roles[0], roles[1]


def _once(names: Sequence[str], role: str) -> Sequence[str]:
    twice = [name for name in names if list(names).count(name) > 1]
    if twice:
        raise UserError(f"{role} names the dataset '{twice[0]}' more than once: name it once")
    return names


def _joined(datasets: Mapping[str, Dataset], labels: Iterable[str]) -> pd.DataFrame:
    """Return the tables of datasets as one, with all of ``labels`` as columns."""
    tables = [
        dataset.table.assign(
            dataset=name,
            id=f"{name}/" + dataset.table["id"],
            key=dataset.table["group"].fillna(dataset.table["sha256"]),
        )
        for name, dataset in datasets.items()
    ]
    joined = pd.concat(tables, ignore_index=True)
    # What one dataset lacks is null by now.
    missing = {LABEL_PREFIX + name: None for name in labels if LABEL_PREFIX + name not in joined}
    order = ["dataset", "id", "path", "sha256", "split", "key", "group", "flags"]
    return joined.assign(**missing)[[*order, *(LABEL_PREFIX + name for name in labels)]]
