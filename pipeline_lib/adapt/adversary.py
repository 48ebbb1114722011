"""What an adversary has to tell apart: a discriminator of domains, and a gradient that is turned around before it."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.adapt.aligning import Aligning

HIDDEN = 256


class Adversarial(Aligning):
    """Trains against a discriminator of the domains, whose ``strength`` grows from 0 to 1 over the steps."""

    part = "domain_loss"
    # With the rate of the others features collapse: on digits DANN then did worse than the model before.
    rate = 0.25
    strength = 0.0

    def begin_step(self, progress: float) -> None:
        """Set the strength of the adversary for the share of the steps that is done."""
        self.strength = schedule(progress)


def discriminator(num_inputs: int) -> nn.Module:
    """Return a network of two hidden layers from ``[B, num_inputs]`` to the log-odds of "source", ``[B, 1]``."""
    return nn.Sequential(
        nn.Linear(num_inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
    )


def schedule(progress: float) -> float:
    """Return the strength of the adversary, from 0 to 1, after a share of all steps (Ganin 2015, section 5.2.2)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def domain_loss(
    network: nn.Module, source_BD: Tensor, target_BD: Tensor, strength: float, weights: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of telling the domains apart, which the network lowers and what made the inputs raises.

    The inputs' gradient is turned around and scaled by ``strength``. ``weights`` are of the images of both domains, the
    source's first.
    """
    both = torch.cat([source_BD, target_BD])
    reversed_BD: Tensor = _Reversed.apply(both, strength)  # type: ignore[no-untyped-call]
    log_odds = network(reversed_BD)[:, 0]
    is_source = torch.cat([torch.ones(len(source_BD)), torch.zeros(len(target_BD))]).to(log_odds)
    return F.binary_cross_entropy_with_logits(log_odds, is_source, weights)


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is that of its negative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return -ctx.strength * gradients[0], None
