"""Brightness, contrast, saturation, hue, grayscale and normalisation as one colour matrix per sample.

Each operation is affine in the colour of a pixel, so their chain is one ``[C, C + 1]`` matrix: the last column
is added. Only the result is clamped to the range of colours: torchvision also clamps between the operations, which
a product cannot express. Axes: B batch, C channels, H height, W width.
"""

import math

import torch
from torch import Tensor

# ITU-R BT.601, as Pillow and torchvision use for grey.
LUMA = (0.299, 0.587, 0.114)
# Hue turns in the plane of this base (YIQ), where grey stays where it is.
YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def colour_matrix(
    mean_BC: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor, grey: Tensor
) -> Tensor:
    """Return ``[B, C, C + 1]`` matrices, applied to the colours in the order of the arguments.

    ``mean_BC`` is each image's mean colour, towards whose grey value contrast moves. ``brightness``, ``contrast`` and
    ``saturation`` are factors (1 changes nothing), ``hue`` is a share of the colour circle and ``grey`` a share
    of colour to lose, ``[B]`` each. Saturation, hue and grey act on three channels only.
    """
    channels = mean_BC.shape[1]
    device = mean_BC.device
    eye = torch.eye(channels, device=device)
    luma = torch.tensor(LUMA, device=device) if channels == 3 else torch.full((channels,), 1 / channels, device=device)
    linear = eye * (brightness * contrast)[:, None, None]
    offset = ((1 - contrast) * brightness * (mean_BC @ luma))[:, None].expand(-1, channels)
    if channels == 3:
        colour = (saturation * (1 - grey))[:, None, None]
        # Turning the hue leaves grey alone, so losing colour before or after it is the same.
        mix = _turn_hue(hue) @ (colour * eye + (1 - colour) * luma.expand(3, 3))
        linear, offset = mix @ linear, (mix @ offset[:, :, None]).squeeze(2)
    return torch.cat([linear, offset[:, :, None]], dim=2)


def normalising(matrix: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return ``matrix`` followed by the normalisation ``(x - mean) / std`` of each channel (``[C]`` each)."""
    last = torch.zeros_like(matrix)
    last[:, :, -1] = mean
    return (matrix - last) / std[:, None]


def recolour(x_BCHW: Tensor, matrix: Tensor) -> Tensor:
    """Apply ``[B, C, C + 1]`` colour matrices to the pixels; the result has its channels last, ``[B, H, W, C]``."""
    # baddbmm takes several times as long on a CPU as the product and the sum.
    planes = (matrix[:, :, :-1] @ x_BCHW.flatten(2)).add_(matrix[:, :, -1:]).view_as(x_BCHW)
    return planes.permute(0, 2, 3, 1).contiguous()


def _turn_hue(hue: Tensor) -> Tensor:
    base = torch.tensor(YIQ, device=hue.device)
    angle = hue * (2 * math.pi)
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rotation = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(-1, 3, 3)
    return torch.linalg.inv(base) @ rotation @ base
