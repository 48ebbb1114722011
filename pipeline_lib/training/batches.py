"""Batches of a dataset, from the device's own memory or read ahead from disk."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pipeline_lib.core.compute import generator, memory_of
from pipeline_lib.core.ranks import rank_and_world
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.inference import read_ahead

# A larger share of the device's memory would leave too little to the model and its activations.
RESIDENT_SHARE = 0.3
# In a CPU's memory more would gain nothing: the system keeps files that are read again and again by itself.
RESIDENT_ON_CPU = 2**26  # bytes
# Batch normalisation has no variance to divide by in a batch of one.
LEAST = 2


class Batches:
    """An iterable of dicts of tensors, in an order that depends on the seed and the epoch alone.

    ``columns`` share their first axis, N: tensors, or :class:`~pipeline_lib.data.rows.Rows` on disk, which are taken
    onto the device as a whole where they fit in a share of its memory and read batch by batch otherwise.
    Without ``weights`` every row comes once an epoch; with them (``[N]``, positive) N rows are drawn with
    replacement in their proportion. The rows are spread evenly over as few batches of at most ``batch_size`` as hold
    them, so that no batch is much smaller than the others; none has fewer than two rows where there are two, for
    which a ``batch_size`` of 2 is exceeded by one.

    In a distributed run a batch is shared: each process gets an equal part of it, and what does not divide by the
    number of processes (fewer rows than there are processes) waits for another epoch's order.
    """

    def __init__(
        self, columns: Mapping[str, Tensor | Rows], batch_size: int, seed: int, weights: Tensor | None = None
    ) -> None:
        self.columns = dict(columns)
        self.num_rows = len(next(iter(self.columns.values())))
        self.batch_size, self.seed, self.weights = batch_size, seed, weights
        self.epoch, self.start = 0, 0
        self.device = torch.device("cpu")
        self.seconds_waited = 0.0
        self.sampler = self  # where Lightning looks for set_epoch

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        _, world = rank_and_world()
        share = self.num_rows // world
        return max(1, min(-(-share * world // self.batch_size), share // LEAST))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls this, also after a resume."""
        self.epoch = epoch

    def skip(self, batches: int) -> None:
        """Leave out so many batches of the epoch that comes next: a resumed run has seen them."""
        self.start = batches

    def place(self, device: torch.device, share: float = RESIDENT_SHARE) -> None:
        """Bring the columns to the device where they fit in ``share`` of its memory."""
        self.device = device
        room = share * memory_of(device)
        if device.type == "cpu":
            room = min(room, RESIDENT_ON_CPU)
        for name, column in self.columns.items():
            if isinstance(column, Tensor):
                self.columns[name] = column.to(device)
            elif column.num_bytes <= room:
                self.columns[name] = column.read(torch.arange(len(column))).contiguous().to(device)

    @property
    def resident(self) -> bool:
        """Whether everything lies on the device."""
        return all(isinstance(column, Tensor) for column in self.columns.values())

    def order(self) -> Tensor:
        """Return the row numbers of this epoch, int64 ``[N]``."""
        source = generator(derive_seed(self.seed, "order", self.epoch))
        if self.weights is None:
            return torch.randperm(self.num_rows, generator=source)
        return torch.multinomial(self.weights, self.num_rows, replacement=True, generator=source)

    def parts(self) -> list[Tensor]:
        """Return the row numbers of each batch of this epoch that this process sees."""
        rank, world = rank_and_world()
        order = self.order()
        # Cut in multiples of the number of processes, so that all parts of a batch are equally large.
        shares = order[: len(order) // world * world].view(-1, world)
        return [batch.flatten().view(world, -1)[rank] for batch in torch.tensor_split(shares, len(self))]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of this epoch."""
        # Read when the first batch is asked for: a resume sets them after Lightning has made this iterator.
        start, self.start = self.start, 0
        rows = self.parts()[start:]
        if self.resident:
            yield from map(self.take, rows)
            return
        for batch in read_ahead(self._read, rows, self._count_wait):
            yield {name: column.to(self.device, non_blocking=True) for name, column in batch.items()}

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the batch of the given row numbers (int64 ``[B]`` on the CPU), on the device."""
        return {name: column.to(self.device, non_blocking=True) for name, column in self._read(rows).items()}

    def _read(self, rows: Tensor) -> dict[str, Tensor]:
        pin = self.device.type == "cuda"
        return {
            name: column[rows.to(column.device)] if isinstance(column, Tensor) else column.read(rows, pin)
            for name, column in self.columns.items()
        }

    def _count_wait(self, seconds: float) -> None:
        self.seconds_waited += seconds
