"""Crop, flip, resize and blur as one linear map along each axis.

All four are separable, so that a view is ``rows @ image @ columns.T`` with a matrix per sample and axis. Resizing is
bilinear and antialiased as Pillow's: when it shrinks, the triangle of the interpolation widens with the scale.
Axes: B batch, C channels, H height, W width; h and w those of the view.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Rows of a matrix that are multiplied together on a CPU: they share most of the pixels that they look at.
BLOCK = 32
# From this many px on, a CPU multiplies the band of a matrix alone: the rest of it is zero.
BANDED_FROM = 128
# Four of the largest sigma, either way: beyond it a weight is less than 1/3000 of the largest.
TAPS = 8


def weights(start_B: Tensor, span_B: Tensor, mirrored_B: Tensor, num_in: int, num_out: int) -> Tensor:
    """Return ``[B, num_out, num_in]`` matrices that resize ``[start, start + span)`` of an axis, in shares of it.

    Rows sum to 1; beside the image's border they weigh what is inside alone.
    """
    scale = span_B * (num_in / num_out)
    step = torch.arange(num_out, device=start_B.device) + 0.5
    step = torch.where(mirrored_B[:, None], num_out - step, step)
    centre = start_B[:, None] * num_in + step * scale[:, None] - 0.5
    distance = torch.arange(num_in, device=start_B.device) - centre[:, :, None]
    # 1 - |distance| / support, at least 0.
    triangle = distance.abs_().div_(-scale.clamp(min=1)[:, None, None]).add_(1).clamp_(min=0)
    return triangle.div_(triangle.sum(dim=2, keepdim=True))


def blurred(matrix_Boi: Tensor, sigma_B: Tensor) -> Tensor:
    """Return ``[B, num_out, num_in]`` matrices that first do what ``matrix`` does and then blur by ``sigma`` px.

    ``sigma`` is at most 2 px. Rows sum to 1, so that borders keep their level.
    """
    taps = torch.arange(-TAPS, TAPS + 1, device=sigma_B.device, dtype=torch.float32)
    kernel = (taps / sigma_B[:, None]).square().mul_(-0.5).exp_()
    # A matrix is a channel here, and blurring what it gives is blurring its columns.
    out = F.conv2d(matrix_Boi[None], kernel[:, None, :, None], padding=(TAPS, 0), groups=len(kernel))[0]
    return out.div_(out.sum(dim=2, keepdim=True))


def resample_width(x_BCHW: Tensor, columns_BwW: Tensor) -> Tensor:
    """Return ``x @ columns.T`` of float32 images, ``[B, C, H, w]``."""
    batch, channels, height, width = x_BCHW.shape
    x = x_BCHW.reshape(batch, channels * height, width)
    if not _banded(columns_BwW):
        return torch.bmm(x, columns_BwW.transpose(1, 2)).view(batch, channels, height, -1)
    out = x.new_empty(batch, channels * height, columns_BwW.shape[1])
    for i, bands in enumerate(_bands(columns_BwW)):
        for part, band in bands:
            torch.mm(x[i, :, band], columns_BwW[i, part, band].T, out=out[i, :, part])
    return out.view(batch, channels, height, -1)


def resample_height(x_BHwC: Tensor, rows_BhH: Tensor) -> Tensor:
    """Return ``rows @ x`` of float32 images with the channels last, ``[B, h, w, C]``."""
    batch, height, width, channels = x_BHwC.shape
    x = x_BHwC.reshape(batch, height, width * channels)
    if not _banded(rows_BhH):
        return torch.bmm(rows_BhH, x).view(batch, -1, width, channels)
    out = x.new_empty(batch, rows_BhH.shape[1], width * channels)
    for i, bands in enumerate(_bands(rows_BhH)):
        for part, band in bands:
            torch.mm(rows_BhH[i, part, band], x[i, band], out=out[i, part])
    return out.view(batch, -1, width, channels)


def _banded(matrix: Tensor) -> bool:
    return matrix.device.type == "cpu" and matrix.shape[2] >= BANDED_FROM


def _bands(matrix: Tensor) -> list[list[tuple[slice, slice]]]:
    """Return the blocks of rows of each sample's matrix, and the columns that each block uses."""
    used = torch.stack([block.amax(dim=1) > 0 for block in torch.split(matrix, BLOCK, dim=1)], dim=1).int()
    first, last = used.argmax(dim=2).tolist(), (matrix.shape[2] - used.flip(2).argmax(dim=2)).tolist()
    blocks = [slice(start, start + BLOCK) for start in range(0, matrix.shape[1], BLOCK)]
    return [
        [(block, slice(low, high)) for block, low, high in zip(blocks, *bounds, strict=True)]
        for bounds in zip(first, last, strict=True)
    ]
