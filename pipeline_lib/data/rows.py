"""Images on disk, read as they are needed.

They are read with ``pread`` and not through a memory map, whose pages would count as this process's memory until the
system takes them back.
"""

import math
import os
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline_lib.core.errors import UserError

if TYPE_CHECKING:  # torch takes seconds to import, and most who read images read arrays
    from torch import Tensor

# A read that is as large as memory allows would gain nothing over one of this many bytes.
MOST_BYTES = 2**30


class Images:
    """The images of one or more ``images.npy`` files, one file after the other: uint8 ``[N, H, W, C]``.

    ``images[5]`` is one image, ``images[2:9]`` and ``images[rows]`` (int64 ``[B]``, in any order) are several; each is
    an array in memory. Raises UserError for a file that is missing or damaged, and for files of different frames.
    """

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        opened = [_open(path) for path in paths]
        self._files = [file for file, _, _ in opened]
        self._offsets = [offset for _, offset, _ in opened]
        shapes = [shape for _, _, shape in opened]
        for path, shape in zip(paths, shapes, strict=True):
            if shape[1:] != shapes[0][1:]:
                raise UserError(
                    f"{paths[0]} has images of {_size(shapes[0])} and {path} of {_size(shape)}: ingest the datasets "
                    "with one size and number of channels"
                )
        # The number of the first image of each file, and of all images.
        self._starts = np.cumsum([0, *(shape[0] for shape in shapes)])
        self.shape = (int(self._starts[-1]), *shapes[0][1:])
        self.row_bytes = int(np.prod(self.shape[1:]))

    def __len__(self) -> int:
        """Return the number of images."""
        return self.shape[0]

    def __getitem__(self, which: int | slice | np.ndarray) -> np.ndarray:
        """Return uint8 ``[H, W, C]`` for a number, ``[B, H, W, C]`` for a slice or an array of numbers.

        Numbers below zero count from the end. Raises IndexError for one that there is not.
        """
        if isinstance(which, slice):
            rows = np.arange(*which.indices(len(self)))
        else:
            rows = np.atleast_1d(np.asarray(which))
            if rows.size and rows.dtype.kind not in "iu":
                raise IndexError(f"images are chosen by whole numbers, not by {rows.dtype}")
            rows = np.where(rows < 0, rows + len(self), rows).astype(np.int64)
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        self.read_into(images, rows)
        return images[0] if isinstance(which, (int, np.integer)) else images

    def read_into(self, out_BHWC: np.ndarray, rows_B: np.ndarray) -> None:
        """Read the images of the given numbers (int64 ``[B]``) into an array, uint8 and C-contiguous.

        Raises IndexError for a number that there is not, and OSError when a file has become too short.
        """
        if not len(rows_B):
            return
        if rows_B.min() < 0 or rows_B.max() >= len(self):
            raise IndexError(f"there are {len(self)} images, but {rows_B.min()} to {rows_B.max()} are asked for")
        files_B = np.searchsorted(self._starts, rows_B, side="right") - 1
        # Images that follow one another in a file are read in one go.
        cuts = np.flatnonzero((np.diff(rows_B) != 1) | (np.diff(files_B) != 0)) + 1
        for first, last in zip([0, *cuts], [*cuts, len(rows_B)], strict=True):
            number = int(files_B[first])
            within = int(rows_B[first] - self._starts[number])
            self._fill(out_BHWC[first:last].reshape(-1), number, self._offsets[number] + within * self.row_bytes)

    def _fill(self, out: np.ndarray, number: int, offset: int) -> None:
        done = 0
        while done < len(out):
            part = out[done : done + MOST_BYTES]
            count = os.preadv(self._files[number].fileno(), [part.data], offset + done)
            if not count:
                raise OSError(f"{self.paths[number]} ends before its last image does")
            done += count


class Readable(Protocol):
    """Images of one size that are read as they are needed: those of a dataset are :class:`Rows`."""

    def __len__(self) -> int:
        """Return how many there are."""

    def read(self, which: "Tensor", pin: bool = False) -> "Tensor":
        """Return images by their numbers (int64 ``[B]``), uint8 ``[B, C, H, W]``; ``pin`` is for a GPU."""


class Rows:
    """Rows of :class:`Images`, which need not fit into memory."""

    def __init__(self, images: Images, rows: np.ndarray) -> None:
        self.images, self.rows, self.shape = images, rows, (len(rows), *images.shape[1:])

    def __len__(self) -> int:
        """Return the number of chosen rows."""
        return len(self.rows)

    @property
    def num_bytes(self) -> int:
        """The memory that all chosen rows would take."""
        return len(self) * self.images.row_bytes

    def read(self, which: "Tensor", pin: bool = False) -> "Tensor":
        """Return the images ``which`` (int64 ``[B]``, counted among the chosen rows), uint8 ``[B, C, H, W]``.

        ``pin`` puts them in page-locked memory, from where a GPU copies while it computes. Raises OSError when the
        file ends before a row does.
        """
        import torch

        out = torch.empty((len(which), *self.shape[1:]), dtype=torch.uint8, pin_memory=pin)
        self.images.read_into(out.numpy(), self.rows[which.numpy()])
        return out.permute(0, 3, 1, 2)


def _open(path: Path) -> tuple[FileIO, int, tuple[int, ...]]:
    """Return the open file, where its first image begins, and the shape of all of them."""
    try:
        file = FileIO(path)
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran_order, dtype = read_header[version](file)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the ingest again") from None
    except (OSError, ValueError, KeyError):
        raise UserError(f"{path} cannot be read as images: run the ingest again") from None
    if fortran_order or dtype != np.uint8 or len(shape) != 4:
        raise UserError(f"{path} does not hold images as ingest writes them: run the ingest again")
    offset = file.tell()
    if os.fstat(file.fileno()).st_size < offset + math.prod(shape):
        raise UserError(f"{path} is cut short: run the ingest again")
    return file, offset, shape


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape[1:]))
