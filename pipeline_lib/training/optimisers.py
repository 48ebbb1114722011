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


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    lr: float,
    weight_decay: float,
    rates: Mapping[nn.Parameter, float] | None = None,
) -> Optimizer:
    """Return the optimiser ``name`` of OPTIMIZERS; biases and the scales of norms are not decayed.

    ``rates`` are the shares of ``lr`` that parameters have, 1 for those that it leaves out.
    """
    by_kind: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            by_kind.setdefault(((rates or {}).get(parameter, 1.0), parameter.ndim > 1), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": by_kind[rate, decayed], "lr": lr * rate, "weight_decay": weight_decay if decayed else 0.0}
        for rate, decayed in sorted(by_kind, reverse=True)
    ]
    return OPTIMIZERS[name](groups, lr=lr)


def warmup_cosine(optimizer: Optimizer, steps: int) -> LambdaLR:
    """Return the schedule that rises to the learning rate in a tenth of the steps and falls to zero along a cosine."""
    warmup = max(1, round(WARMUP_SHARE * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return LambdaLR(optimizer, factor)
