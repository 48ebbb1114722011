"""Every label counts the same: the mean of the losses, and what other weightings have to beat."""

from collections.abc import Sequence

from torch import Tensor, nn

from pipeline_lib.heads.weightings.weighting import Weighting


class Equal(Weighting):
    """The mean over the labels, with or without a value in the batch."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()

    def forward(self, losses_L: Tensor, known_L: Tensor, shared: Sequence[nn.Parameter]) -> Tensor:
        """Return the mean loss."""
        return losses_L.mean()
