"""Deep CORAL: equal covariances of the features (Sun 2016, https://arxiv.org/abs/1607.01719)."""

import torch
from torch import Tensor

from pipeline_lib.adapt.aligning import Aligning


class DeepCORAL(Aligning):
    """Bring the covariances of the features of both domains together.

    The authors divide by 4 D^2, which is next to nothing beside the loss of the labels for features of order one, and
    so raise ``weight`` until both are alike at the end. Here the distance is relative to the covariances.
    """

    name = "deep_coral"

    def distance(self, source_BD: Tensor, target_BD: Tensor) -> Tensor:
        """Return the relative distance of the covariances."""
        return covariance_distance(source_BD, target_BD)


def covariance_distance(source_BD: Tensor, target_BD: Tensor) -> Tensor:
    """Return ``|S - T|^2 / (|S|^2 + |T|^2)`` of the covariances, by the Frobenius norm: 0 where they are equal.

    It is 0 too for batches of one image, which have no covariance.
    """
    if len(source_BD) < 2:
        return (source_BD.sum() + target_BD.sum()) * 0
    first, second = source_BD.T.cov(), target_BD.T.cov()
    scale = first.square().sum() + second.square().sum()
    return (first - second).square().sum() / scale.clamp(min=torch.finfo(scale.dtype).tiny)
