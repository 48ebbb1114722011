"""Picture files that are decoded and framed when a model wants them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline_lib.data.images import BrokenImageError, decode, frame
from pipeline_lib.data.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor


class Files:
    """Pictures framed alike, which need not fit into memory: the other kind of rows beside those of a dataset.

    ``framing`` are the arguments of :func:`~pipeline_lib.data.images.frame`. A picture that cannot be used is black,
    and ``broken`` has the reason by its path once it was read.
    """

    def __init__(self, samples: Sequence[Sample], framing: Mapping[str, Any]) -> None:
        self.samples, self.framing = samples, framing
        self.broken: dict[str, str] = {}

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.samples)

    def read(self, which: "Tensor", pin: bool = False) -> "Tensor":
        """Return the pictures of the given numbers (int64 ``[B]``), uint8 ``[B, C, H, W]``; see ``Rows.read``."""
        import torch

        size, channels = self.framing["size"], self.framing["channels"]
        out = torch.empty((len(which), size, size, channels), dtype=torch.uint8, pin_memory=pin)
        for image, number in zip(out.numpy(), which.tolist(), strict=True):
            self._read_into(image, self.samples[number])
        return out.permute(0, 3, 1, 2)

    def _read_into(self, out_HWC: np.ndarray, sample: Sample) -> None:
        try:
            out_HWC[:] = frame(decode(sample.load()), **self.framing)
        except BrokenImageError as error:
            self.broken[sample.path] = str(error)
            out_HWC[:] = 0
