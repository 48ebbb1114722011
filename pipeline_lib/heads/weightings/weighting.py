"""What a weighting says of the losses of several labels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


class Weighting(nn.Module, ABC):
    """Makes one loss of those of L labels; its own parameters, if it has any, are trained with the model's."""

    @abstractmethod
    def forward(self, losses_L: Tensor, known_L: Tensor, shared: Sequence[nn.Parameter]) -> Tensor:
        """Return what is minimised, a scalar.

        ``known_L`` says of which labels an image of the batch has a value: the others' losses are 0, and count as a
        loss of 0 would. ``shared`` are the parameters of the encoder that are trained.
        """
