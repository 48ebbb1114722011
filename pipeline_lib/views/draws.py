"""Random numbers that do not depend on the device or on how many processes share a batch."""

import torch
from torch import Tensor

from pipeline_lib.core.ranks import rank_and_world


def uniforms(count: int, num: int) -> Tensor:
    """Return float32 ``[count, num]`` from [0, 1) on the CPU: ``num`` columns, one for each sample of this process.

    They come from torch's global CPU generator. In a distributed run every process draws the numbers of the
    whole batch and keeps those of its own samples, so with equal seeds the processes together make the very
    views that one process would make of the whole batch.
    """
    rank, world = rank_and_world()
    return torch.rand(count, num * world)[:, rank * num : (rank + 1) * num]
