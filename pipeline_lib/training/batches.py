"""Batches of a dataset that lies on the device as a whole."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pipeline_lib.core.compute import generator
from pipeline_lib.core.seeds import derive_seed


class Batches:
    """An iterable of dicts of tensors, in an order that depends on the seed and the epoch alone.

    ``tensors`` share their first axis, N. Without ``weights`` every row comes once an epoch; with them (``[N]``,
    positive) N rows are drawn with replacement in their proportion. The last batch is left out when
    it is smaller than the others, unless it is the only one.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], batch_size: int, seed: int, weights: Tensor | None = None
    ) -> None:
        self.tensors = dict(tensors)
        self.num_rows = len(next(iter(self.tensors.values())))
        self.batch_size = min(batch_size, self.num_rows)
        self.seed, self.weights, self.epoch = seed, weights, 0
        self.sampler = self  # where Lightning looks for set_epoch

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self.num_rows // self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls this, also after a resume."""
        self.epoch = epoch

    def order(self) -> Tensor:
        """Return the row numbers of this epoch, int64 ``[N]``."""
        source = generator(derive_seed(self.seed, "order", self.epoch))
        if self.weights is None:
            return torch.randperm(self.num_rows, generator=source)
        return torch.multinomial(self.weights, self.num_rows, replacement=True, generator=source)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of this epoch."""
        device = next(iter(self.tensors.values())).device
        for rows in torch.split(self.order().to(device), self.batch_size)[: len(self)]:
            yield {name: tensor[rows] for name, tensor in self.tensors.items()}
