"""A teacher whose weights follow the student's as a moving average."""

import copy
import math
from typing import TypeVar

from lightly.models.utils import update_momentum
from torch import nn

Module = TypeVar("Module", bound=nn.Module)

__all__ = ["cosine", "frozen_copy", "update_momentum"]


def frozen_copy(module: Module) -> Module:
    """Return a copy whose weights get no gradients: ``update_momentum(module, copy, m)`` moves them.

    As with the authors of MoCo, BYOL and DINO, only weights are averaged: a copy in training mode normalises by its own
    batches, from which it keeps its own running statistics.
    """
    return copy.deepcopy(module).requires_grad_(False)


def cosine(start: float, end: float, progress: float) -> float:
    """Return the value between ``start`` (at ``progress`` 0) and ``end`` (at 1) along half a cosine."""
    return end - (end - start) * (math.cos(math.pi * progress) + 1) / 2
