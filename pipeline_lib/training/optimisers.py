"""Optimisers and the one schedule: a linear warm-up and a cosine."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from lightly.utils.lars import LARS
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "lars": partial(LARS, momentum=0.9),
}
WARMUP_SHARE = 0.1
# The batch that the learning rate is given for (Goyal 2017, https://arxiv.org/abs/1706.02677).
REFERENCE_BATCH = 256


def make_optimizer(name: str, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> Optimizer:
    """Return the optimiser ``name`` of OPTIMIZERS; biases and the scales of norms are not decayed."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[name]([group for group in groups if group["params"]], lr=lr)


def warmup_cosine(optimizer: Optimizer, steps: int) -> LambdaLR:
    """Return the schedule that rises to the learning rate in a tenth of the steps and falls to zero along a cosine."""
    warmup = max(1, round(WARMUP_SHARE * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return LambdaLR(optimizer, factor)
