"""Chosen rows of a dataset's images, read from disk as they are needed."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class Rows:
    """Rows of an ``images.npy`` (uint8 ``[N, H, W, C]``), which need not fit into memory.

    They are read with ``pread`` and not through a memory map, whose pages would count as this process's memory until
    the system takes them back.
    """

    def __init__(self, path: Path, rows: np.ndarray) -> None:
        images = np.load(path, mmap_mode="r")
        self.path, self.rows, self.shape = path, rows, (len(rows), *images.shape[1:])
        self.row_bytes = int(np.prod(images.shape[1:]))
        self._offset: int = images.offset
        self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        """Return the number of chosen rows."""
        return len(self.rows)

    @property
    def num_bytes(self) -> int:
        """The memory that all chosen rows would take."""
        return len(self) * self.row_bytes

    def read(self, which: Tensor, pin: bool = False) -> Tensor:
        """Return the images ``which`` (int64 ``[B]``, counted among the chosen rows), uint8 ``[B, C, H, W]``.

        ``pin`` puts them in page-locked memory, from where a GPU copies while it computes. Raises OSError when the
        file ends before a row does.
        """
        out = torch.empty((len(which), *self.shape[1:]), dtype=torch.uint8, pin_memory=pin)
        buffer = out.numpy().reshape(len(which), self.row_bytes)
        for target, row in zip(buffer, self.rows[which.numpy()], strict=True):
            done = os.preadv(self._file.fileno(), [target.data], self._offset + int(row) * self.row_bytes)
            if done != self.row_bytes:
                raise OSError(f"{self.path} ends inside image {row}")
        return out.permute(0, 3, 1, 2)
