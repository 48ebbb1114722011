"""Linear layers of a transformer with a low-rank update each, and nothing else of it (LoRA, Hu 2021, arXiv:2106.09685).

The heads come first, as in ``lp_ft``. In the end the updates are added to the weights: the encoder is one as any other.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.heads.strategies.strategy import Strategy

RANK = 8


class LowRankUpdate(nn.Module):
    """Adds the product of two thin matrices to a weight ``[O, I]``; it is 0 at first, and its factor is 1."""

    def __init__(self, weight_OI: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, weight_OI.shape[1]))
        self.up = nn.Parameter(torch.zeros(weight_OI.shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.to(weight_OI.device)

    def forward(self, weight_OI: Tensor) -> Tensor:
        """Return the weight with its update."""
        return weight_OI + self.up @ self.down


@dataclass(frozen=True)
class LowRank:
    """Updates of ``rank`` on every linear layer of an encoder that has attention."""

    rank: int = RANK

    def refuse(self, encoder: Encoder) -> None:
        """Raise UserError for an encoder without attention."""
        if not any(isinstance(getattr(part, "qkv", None), nn.Linear) for part in encoder.backbone.modules()):
            raise UserError(
                f"strategies name low_rank, which needs a transformer, but '{encoder.name}' is none: leave low_rank "
                "out, or choose small_vit or a vision transformer of timm, such as vit_tiny_patch16_224"
            )

    def add(self, encoder: Encoder) -> list[nn.Parameter]:
        """Add the updates, and return what is trained of them."""
        updates = []
        for layer in _linear(encoder):
            updates.append(LowRankUpdate(layer.weight, self.rank))
            parametrize.register_parametrization(layer, "weight", updates[-1])
        return [parameter for update in updates for parameter in update.parameters()]

    def merge(self, encoder: Encoder) -> None:
        """Make the updates part of the weights that they are added to."""
        for layer in _linear(encoder):
            parametrize.remove_parametrizations(layer, "weight")


def _linear(encoder: Encoder) -> list[nn.Linear]:
    return [part for part in encoder.backbone.modules() if isinstance(part, nn.Linear)]


LOW_RANK = Strategy("low_rank", rates=lambda num_blocks: [0.0] * num_blocks, heads_first=True, layers=LowRank())
