"""Crop, flip, rotation and shear as one affine map per sample.

Axes: B batch, C channels, H height, W width. Coordinates run from -1 to 1 across the image, as in
``torch.nn.functional.grid_sample``.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def random_affine(
    num: int, *, min_scale: float, rotation: float, shear: float, flip: float, device: torch.device
) -> Tensor:
    """Return ``[B, 2, 3]`` maps from output to input coordinates, drawn from torch's global generator.

    A crop keeps a share of the area between ``min_scale`` and 1, with an aspect ratio between 3/4 and 4/3, at
    a random place inside the image (as torchvision's RandomResizedCrop); ``rotation`` and ``shear`` are
    the largest angles in degrees, either way; ``flip`` is the probability of a mirror image.
    """

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(num, device=device) * (high - low) + low

    area = uniform(min_scale, 1.0)
    stretch = uniform(-1, 1).mul(math.log(4 / 3) * (min_scale < 1)).exp().sqrt()
    width = (area.sqrt() * stretch).clamp(max=1)
    height = (area.sqrt() / stretch).clamp(max=1)
    shift_x = uniform(-1, 1) * (1 - width)
    shift_y = uniform(-1, 1) * (1 - height)
    mirror = 1 - 2 * (torch.rand(num, device=device) < flip).float()
    angle = uniform(-rotation, rotation) * (math.pi / 180)
    slant = (uniform(-shear, shear) * (math.pi / 180)).tan()
    cos, sin = angle.cos(), angle.sin()
    # crop box @ rotation @ shear @ mirror, multiplied out.
    row_x = [width * cos * mirror, width * (cos * slant - sin), shift_x]
    row_y = [height * sin * mirror, height * (sin * slant + cos), shift_y]
    return torch.stack([torch.stack(row_x, dim=1), torch.stack(row_y, dim=1)], dim=1)


def warp(x_BCHW: Tensor, affine: Tensor) -> Tensor:
    """Sample each image along its affine map ``[B, 2, 3]``, bilinear; what lies outside repeats the border."""
    grid = F.affine_grid(affine, list(x_BCHW.shape), align_corners=False)
    return F.grid_sample(x_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)
