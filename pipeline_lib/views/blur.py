"""Gaussian blur with a width of its own for each sample."""

import torch
from torch import Tensor
from torch.nn import functional as F


def random_blur(x_BCHW: Tensor, probability: float) -> Tensor:
    """Blur a share of the images by a sigma between 0.1 and 2 px (SimCLR's range, as lightly and torchvision take it).

    Separable, with one matrix product per axis: a blur along an axis is a banded ``[W, W]`` matrix per sample,
    so no convolution with a group per image is needed. Only the images that blur are touched.
    """
    chosen = torch.rand(len(x_BCHW), device=x_BCHW.device) < probability
    sigma = torch.rand(len(x_BCHW), device=x_BCHW.device) * 1.9 + 0.1
    if not bool(chosen.any()):
        return x_BCHW
    height, width = x_BCHW.shape[2:]
    picked = x_BCHW[chosen]
    down, across = (_kernel(sigma[chosen], side)[:, None] for side in (height, width))
    picked = down @ picked @ across.transpose(2, 3)
    return x_BCHW.index_copy(0, chosen.nonzero().squeeze(1), picked)


def _kernel(sigma_B: Tensor, size: int) -> Tensor:
    """Return ``[B, size, size]`` matrices whose rows are Gaussians that sum to 1, so that borders keep their level."""
    position = torch.arange(size, device=sigma_B.device, dtype=torch.float32)
    distance = (position[:, None] - position[None, :]) ** 2
    return F.softmax(-distance / (2 * sigma_B[:, None, None] ** 2), dim=2)
