"""Brightness, contrast, saturation, hue, grayscale and normalisation as one colour matrix per sample.

Each operation is affine in the colour of a pixel, so their chain is one ``[C, C + 1]`` matrix: the last column
is added. The clamping to the range of colours between torchvision's operations is left out, which the
product cannot express. Axes: B batch, C channels, H height, W width.
"""

import math

import torch
from torch import Tensor

# ITU-R BT.601, as Pillow and torchvision use for grey.
LUMA = (0.299, 0.587, 0.114)
# Hue turns in the plane of this base (YIQ), where grey stays where it is.
YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def random_colour(x_BCHW: Tensor, *, jitter: float, grayscale: float) -> Tensor:
    """Return ``[B, C, C + 1]`` matrices for images in 0-1, drawn from torch's global generator.

    Brightness and contrast change by factors in ``1 ± jitter``; with three channels also saturation by the
    same factor and hue by up to ``jitter / 4`` of a turn (SimCLR, https://arxiv.org/abs/2002.05709, appendix A),
    and ``grayscale`` is the probability of losing colour.
    """
    num, channels, device = x_BCHW.shape[0], x_BCHW.shape[1], x_BCHW.device

    def factor() -> Tensor:
        return (1 + (torch.rand(num, device=device) * 2 - 1) * jitter).clamp(min=0)

    eye = torch.eye(channels, device=device).expand(num, -1, -1)
    luma = torch.tensor(LUMA, device=device) if channels == 3 else torch.full((channels,), 1 / channels, device=device)
    grey = luma.expand(channels, -1)
    linear = eye * factor()[:, None, None]
    contrast = factor()
    mean = (linear @ x_BCHW.mean(dim=(2, 3))[:, :, None]).squeeze(2) @ luma
    linear = linear * contrast[:, None, None]
    offset = ((1 - contrast) * mean)[:, None].expand(num, channels)
    if channels == 3:
        colour = factor()[:, None, None]
        colour = colour * (torch.rand(num, device=device) >= grayscale)[:, None, None]
        saturate = colour * eye + (1 - colour) * grey
        turn = _hue((torch.rand(num, device=device) * 2 - 1) * (jitter / 4 * 2 * math.pi))
        linear, offset = turn @ saturate @ linear, (turn @ saturate @ offset[:, :, None]).squeeze(2)
    return torch.cat([linear, offset[:, :, None]], dim=2)


def normalising(matrix: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return ``matrix`` followed by the normalisation ``(x - mean) / std`` of each channel (``[C]`` each)."""
    last = torch.zeros_like(matrix)
    last[:, :, -1] = mean
    return (matrix - last) / std[:, None]


def recolour(x_BCHW: Tensor, matrix: Tensor) -> Tensor:
    """Apply ``[B, C, C + 1]`` colour matrices to the pixels."""
    return torch.baddbmm(matrix[:, :, -1:], matrix[:, :, :-1], x_BCHW.flatten(2)).view_as(x_BCHW)


def _hue(angle: Tensor) -> Tensor:
    base = torch.tensor(YIQ, device=angle.device)
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(-1, 3, 3)
    return torch.linalg.inv(base) @ turn @ base
