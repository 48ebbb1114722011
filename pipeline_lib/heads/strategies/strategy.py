"""What a strategy says of the training of a model on labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders.blocks import blocks_of
from pipeline_lib.encoders.encoder import Encoder


class Layers(Protocol):
    """What is added to an encoder for a training, and merged into its weights in the end."""

    def refuse(self, encoder: Encoder) -> None:
        """Raise UserError for an encoder that has no place for it."""

    def add(self, encoder: Encoder) -> list[nn.Parameter]:
        """Add it, and return its parameters, which are trained at the whole rate."""

    def merge(self, encoder: Encoder) -> None:
        """Take it away again, into the weights, so that features stay."""


@dataclass(frozen=True)
class Strategy:
    """How an encoder and its heads are trained on labels.

    ``rates`` gives, from the number of the encoder's blocks, the share of the learning rate that each of them has, from
    the input to the output; heads have all of it. A block of rate 0 stays as it is, its batch statistics too.
    ``pretrained`` says that the encoder starts from its pretrained weights, not from random ones, and ``heads_first``
    that heads start from the best fit to the features of the encoder as it is then, which stays in evaluation for it:
    its batch statistics stay, and nothing is dropped. ``pull`` is the price of half the squared distance of the
    encoder's weights from where they start. The encoder must have ``least_blocks``. ``layers`` are added while it is
    trained.
    """

    name: str
    rates: Callable[[int], Sequence[float]]
    pretrained: bool = True
    heads_first: bool = False
    pull: float = 0.0
    least_blocks: int = 1
    layers: Layers | None = None

    def refuse(self, encoder: Encoder) -> None:
        """Raise UserError for an encoder that cannot be trained like this."""
        if len(blocks_of(encoder)) < self.least_blocks:
            raise UserError(
                f"strategies name {self.name}, which needs an encoder of {self.least_blocks} blocks or more, but "
                f"'{encoder.name}' is one: leave {self.name} out, or choose an encoder of timm, small_cnn or small_vit"
            )
        if self.layers:
            self.layers.refuse(encoder)

    def rated(self, encoder: Encoder) -> list[tuple[list[nn.Parameter], float]]:
        """Return the parameters of each block with their rate."""
        blocks = blocks_of(encoder)
        return list(zip(blocks, self.rates(len(blocks)), strict=True))

    def trains(self, encoder: Encoder) -> bool:
        """Say whether anything but the heads is trained."""
        return self.layers is not None or any(rate > 0 for _, rate in self.rated(encoder))
