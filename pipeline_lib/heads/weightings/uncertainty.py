"""Labels that are hard to tell count less: weights by a learnt variance (Kendall 2018, arXiv:1705.07115)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.heads.weightings.weighting import Weighting


class Uncertainty(Weighting):
    """The mean over the labels of loss / variance + log variance, which the optimiser learns with the model.

    What is learnt is the logarithm of each variance, so that none is ever 0 or below, and all start from 1: at first
    this is the mean loss. A label without a value in the batch leaves its variance as it is.
    """

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(num_labels))

    def forward(self, losses_L: Tensor, known_L: Tensor, shared: Sequence[nn.Parameter]) -> Tensor:
        """Return the mean of the weighted losses."""
        return (known_L * ((-self.log_variance).exp() * losses_L + self.log_variance)).mean()
