"""Crop, flip, resize and blur as one linear map along each axis.

All four are separable, so that a view is ``rows @ image @ columns.T`` with a matrix per sample and axis. Resizing is
bilinear and antialiased as Pillow's: when it shrinks, the triangle of the interpolation widens with the scale.
Axes: B batch, C channels, H height, W width; h and w those of the view.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.views.colour import recolour

# Rows of a matrix that are multiplied together on a CPU: they share most of the pixels that they look at.
BLOCK = 32
# From this many px on, a CPU is faster with an image at a time and the band of a matrix alone: the rest of it is zero.
CROPPED_FROM = 96
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


def render(x_BCHW: Tensor, rows_BhH: Tensor, columns_BwW: Tensor, colours: Callable[[Tensor], Tensor]) -> Tensor:
    """Return float32 views ``[B, h, w, C]``: ``rows @ x @ columns.T`` of each channel, recoloured.

    ``x`` is uint8 or float32. ``colours`` maps the mean colours of the views, ``[B, C]``, to the matrices for
    :func:`~pipeline_lib.views.colour.recolour`. Place and colour do not depend on each other, so colour comes
    between the two products, where the channels also turn to be last.
    """
    render_all = _render_cropped if x_BCHW.device.type == "cpu" and x_BCHW.shape[3] >= CROPPED_FROM else _render_whole
    return render_all(x_BCHW, rows_BhH, columns_BwW, colours)


def _render_whole(x_BCHW: Tensor, rows_BhH: Tensor, columns_BwW: Tensor, colours: Callable[[Tensor], Tensor]) -> Tensor:
    # Two steps: changing type and layout at once is several times as slow.
    x = x_BCHW.contiguous().float()
    across = torch.bmm(x.flatten(1, 2), columns_BwW.transpose(1, 2)).view(*x.shape[:3], -1)
    mean_BC = (across.mean(dim=3) @ rows_BhH.mean(dim=1)[:, :, None]).squeeze(2)
    coloured = recolour(across, colours(mean_BC))
    return torch.bmm(rows_BhH, coloured.flatten(2)).view(*coloured.shape[:1], -1, *coloured.shape[2:])


def _render_cropped(
    x_BCHW: Tensor, rows_BhH: Tensor, columns_BwW: Tensor, colours: Callable[[Tensor], Tensor]
) -> Tensor:
    """Render one image after the other, and of each only the part that its matrices use."""
    channels, size = x_BCHW.shape[1], (rows_BhH.shape[1], columns_BwW.shape[1])
    row_bands, column_bands = _bands(rows_BhH), _bands(columns_BwW)
    crops, means = [], []
    for x_CHW, rows, columns, blocks, down in zip(x_BCHW, rows_BhH, columns_BwW, column_bands, row_bands, strict=True):
        top, bottom = _extent(down)
        x = x_CHW[:, top:bottom].contiguous().float().flatten(0, 1)
        across = x.new_empty(len(x), size[1])
        for part, band in blocks:
            torch.mm(x[:, band], columns[part, band].T, out=across[:, part])
        crops.append(across.view(channels, -1, size[1]))
        means.append(crops[-1].mean(dim=2) @ rows[:, top:bottom].mean(dim=0))
    matrices = colours(torch.stack(means))
    out = rows_BhH.new_empty(len(x_BCHW), *size, channels)
    for across_CHw, rows, blocks, matrix, view in zip(crops, rows_BhH, row_bands, matrices, out, strict=True):
        top, _ = _extent(blocks)
        coloured = recolour(across_CHw[None], matrix[None])[0].flatten(1)
        for part, band in blocks:
            torch.mm(rows[part, band], coloured[band.start - top : band.stop - top], out=view[part].flatten(1))
    return out


def _bands(matrix: Tensor) -> list[list[tuple[slice, slice]]]:
    """Return the blocks of rows of each sample's matrix, and the columns that each block uses."""
    used = torch.stack([block.amax(dim=1) > 0 for block in torch.split(matrix, BLOCK, dim=1)], dim=1).int()
    first, last = used.argmax(dim=2).tolist(), (matrix.shape[2] - used.flip(2).argmax(dim=2)).tolist()
    blocks = [slice(start, start + BLOCK) for start in range(0, matrix.shape[1], BLOCK)]
    return [
        [(block, slice(low, high)) for block, low, high in zip(blocks, *bounds, strict=True)]
        for bounds in zip(first, last, strict=True)
    ]


def _extent(blocks: list[tuple[slice, slice]]) -> tuple[int, int]:
    return min(band.start for _, band in blocks), max(band.stop for _, band in blocks)
