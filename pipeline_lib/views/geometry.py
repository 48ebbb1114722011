"""Where a view looks: crop, flip, rotation and shear.

Axes: B batch, C channels, H height, W width. A crop is a start and a span along each axis, in shares of the image.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def random_spans(area: Tensor, aspect: Tensor, place: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Return start and span of a crop, each ``[2, B]`` (across, down) in shares of the image.

    ``area``, ``aspect`` (``[B]``) and ``place`` (``[2, B]``) are uniform in [0, 1). The crop keeps a share of the area
    between ``low`` and ``high``, with an aspect ratio between 3/4 and 4/3, at a random place inside the
    image, as torchvision's RandomResizedCrop; what would be wider than the image is cut to it.
    """
    kept = (area * (high - low) + low).sqrt()
    stretch = ((aspect * 2 - 1) * math.log(4 / 3) * (low < 1)).exp().sqrt()
    span = torch.stack([kept * stretch, kept / stretch]).clamp(max=1)
    return place * (1 - span), span


def turn(x_BCHW: Tensor, angle: Tensor, slant: Tensor) -> Tensor:
    """Rotate and shear each image about its centre, bilinear; what comes from outside repeats the border.

    ``angle`` and ``slant`` are ``[B]``, in degrees.
    """
    cos, sin = angle.deg2rad().cos(), angle.deg2rad().sin()
    tan = slant.deg2rad().tan()
    height, width = x_BCHW.shape[2:]
    across = torch.linspace(-1 + 1 / width, 1 - 1 / width, width, device=x_BCHW.device)
    down = torch.linspace(-1 + 1 / height, 1 - 1 / height, height, device=x_BCHW.device)

    def plane(along_x: Tensor, along_y: Tensor) -> Tensor:
        # A sum of two lines; affine_grid's product over every pixel takes several times as long.
        return (along_x[:, None] * across)[:, None, :] + (along_y[:, None] * down)[:, :, None]

    grid = torch.stack([plane(cos, cos * tan - sin), plane(sin, sin * tan + cos)], dim=3)
    return F.grid_sample(x_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)
