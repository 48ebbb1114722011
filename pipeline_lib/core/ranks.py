"""The processes of a distributed training: which one this is, and rows gathered from all of them."""

import torch
from torch import Tensor, distributed


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of processes: (0, 1) outside a distributed training."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def gather(x: Tensor) -> Tensor:
    """Return the rows of all processes' ``x`` in rank order, with gradients; ``x`` itself outside a distributed run.

    ``x`` is ``[N, ...]`` of any dtype and of the same shape on every process; the result is ``[world * N, ...]``.
    Backwards, ``x`` gets the sum of what the losses of all processes send to its rows. A loss that every
    process takes of the gathered batch so sends ``world`` times its gradient, by which the averaging of
    DistributedDataParallel divides: weights get the very gradient of one process with the whole batch.
    """
    if rank_and_world()[1] == 1:
        return x
    # Here, so that stages which only ask for their rank do not wait for this import.
    from lightly.utils.dist import GatherLayer

    return torch.cat(GatherLayer.apply(x.contiguous()))
