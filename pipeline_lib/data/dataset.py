"""The dataset artifact: images.npy, table.parquet and card.json in one folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json, write_json, write_parquet
from pipeline_lib.data.rows import Images

IMAGES, TABLE, CARD = "images.npy", "table.parquet", "card.json"
LABEL_PREFIX = "label."
COLUMNS = ("id", "path", "sha256", "split", "group", "flags")


@dataclass(frozen=True)
class Dataset:
    """Framed images with their table.

    ``table`` has a row an image and the columns id, path, sha256 (of the original bytes), split (train or test),
    group, flags, and ``label.<name>`` for those of the labels asked for that the dataset has: float64, or text with
    nulls. ``card`` is the content of card.json.
    """

    images: Images
    table: pd.DataFrame
    card: Mapping[str, Any]


class ImageWriter:
    """Writes an ``images.npy`` some images at a time, with the very bytes that ``np.save`` would write of all of them.

    ``shape`` is (H, W, C). How many images there are is written into the header at the end, for which numpy leaves
    room there.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.shape, self.num_images = shape, 0
        self._file = path.open("wb")
        self._write_header()

    def append(self, images_BHWC: np.ndarray) -> None:
        """Write images, uint8 ``[B, H, W, C]``; raises ValueError for another type or shape."""
        if images_BHWC.dtype != np.uint8 or images_BHWC.shape[1:] != self.shape:
            raise ValueError(f"images are {images_BHWC.dtype} {images_BHWC.shape}, but must be uint8 of {self.shape}")
        self._file.write(np.ascontiguousarray(images_BHWC).data)
        self.num_images += len(images_BHWC)

    def _write_header(self) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.num_images, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Complete the header and close the file; after an error it is left as it is."""
        with self._file:
            if error is None:
                self._file.seek(0)
                self._write_header()


def write_table(folder: Path, table: pd.DataFrame, card: Mapping[str, Any]) -> None:
    """Write what belongs to the images in ``folder``: their table and card."""
    write_parquet(folder / TABLE, table)
    write_json(folder / CARD, card)


def read_dataset(folder: Path, labels: Sequence[str] = ()) -> Dataset:
    """Read a dataset with those of the named labels that it has: the others never enter the process.

    Raises UserError for a file that is missing or damaged.
    """
    card = _intact(folder / CARD, read_json)
    images = Images(folder / IMAGES)
    columns = [*COLUMNS, *(LABEL_PREFIX + name for name in labels if name in card["labels"])]
    table = _intact(folder / TABLE, lambda path: pd.read_parquet(path, columns=columns))
    if len(table) != len(images):
        raise UserError(
            f"{folder / TABLE} has {len(table)} rows for {len(images)} images: run the ingest again, which writes both"
        )
    return Dataset(images, table, card)


def _intact(path: Path, read: Any) -> Any:
    """Return what ``read`` returns of a file, with its failures as a sentence."""
    try:
        return read(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the ingest again") from None
    except (OSError, ValueError, KeyError):  # what json, pyarrow and pandas raise for what they cannot parse
        raise UserError(f"{path} is cut short or damaged: run the ingest again") from None
