"""The head of ordinal labels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# The least distance of two thresholds: without one a class could get the probability 0, whose logarithm is not finite.
MIN_GAP = 1e-3


class CumulativeLink(nn.Module):
    """Proportional odds (McCullagh 1980): one weight vector for all classes and a threshold between each two.

    P(class <= k) = sigmoid(threshold_k - w x), with thresholds that rise. ``forward`` maps features ``[B, D]`` to the
    logarithms of the probabilities of the ``num_classes`` classes, float32 ``[B, C]``. Their softmax is the
    probabilities themselves, so that they can stand wherever the outputs of a linear layer can.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.direction = nn.Linear(num_features, 1, bias=False)
        # At first all classes are equally probable at w x = 0.
        thresholds = torch.logit(torch.arange(1, num_classes) / num_classes)
        self.first = nn.Parameter(thresholds[:1])
        # The inverse of softplus.
        self.gaps = nn.Parameter((thresholds.diff() - MIN_GAP).expm1().log())

    def forward(self, features_BD: Tensor) -> Tensor:
        """Return the logarithms of the classes' probabilities."""
        gaps = F.softplus(self.gaps) + MIN_GAP
        thresholds = torch.cat([self.first, self.first + gaps.cumsum(0)])
        above = self.direction(features_BD).float() - thresholds
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)), whose logarithm is exact in the tails.
        between = F.logsigmoid(-above[:, 1:]) + F.logsigmoid(above[:, :-1]) + (-torch.expm1(-gaps)).log()
        return torch.cat([F.logsigmoid(-above[:, :1]), between, F.logsigmoid(above[:, -1:])], dim=1)
