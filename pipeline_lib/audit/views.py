"""Pictures as unit vectors that a copy shares with its original, whatever its frame, contrast and size."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.data.rows import Images
from pipeline_lib.stats.components import batches

GRID = 24  # px a side of what is kept of a picture
SIDE = 12  # px a side of what candidates are found by
FINE = 16  # px a side of what they are compared by
AT_ONCE = 2048  # views that are resampled at once
NUDGE = 0.02  # of a side, by which an edge of a window is moved to learn the slope
# A ground varies by less than so many levels of 255: what re-encoding leaves of one colour.
GROUND = 20
# Windows [start, end] of a picture that a crop may have kept, along each side.
SPANS = ((0.0, 1.0), (0.0, 0.86), (0.14, 1.0), (0.07, 0.93))
WINDOWS = np.array([[*x, *y] for y in SPANS for x in SPANS], np.float32)  # [16, 4]: x0, x1, y0, y1


def grids(images: Images | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the views of all images, uint8 ``[V, C, 24, 24]``, and the image of each view, int64 ``[V]``.

    A view is the whole frame, and the content within a ground of one colour where there is a ground. An image of a
    single colour has none. The views of ``images``, uint8 ``[N, H, W, C]``, are in the order of the images.
    """
    views = [np.empty((0, images.shape[3], GRID, GRID), np.uint8)]
    owners, start = [np.empty(0, np.int64)], 0
    for batch in batches(images):
        varied = np.flatnonzero(np.ptp(batch.reshape(len(batch), -1), axis=1))
        boxes = _contents(batch[varied])
        whole = np.broadcast_to(np.array([0, batch.shape[2], 0, batch.shape[1]], np.float32), boxes.shape)
        framed = np.flatnonzero((boxes != whole).any(axis=1))
        rows = np.concatenate([varied, varied[framed]])
        order = np.argsort(rows, kind="stable")
        views.append(_resampled(batch, rows[order], np.concatenate([whole, boxes[framed]])[order]))
        owners.append(rows[order] + start)
        start += len(batch)
    return np.concatenate(views), np.concatenate(owners)


def whole_views(grids_VCGG: np.ndarray) -> Tensor:
    """Return the first of :func:`windows`, which is the whole view, float32 ``[V, C * 12 * 12]``."""
    return _windows(grids_VCGG, SPANS[:1])[:, 0]


def windows(grids_VCGG: np.ndarray) -> Tensor:
    """Return the pixels within each window of each view as rows of length 1, float32 ``[V, 16, C * 12 * 12]``.

    The mean of all pixels is taken off, so that neither brightness nor contrast count, and colour does; a window of a
    single colour is zeros.
    """
    return _windows(grids_VCGG, SPANS)


def _windows(grids_VCGG: np.ndarray, spans: Sequence[tuple[float, float]]) -> Tensor:
    weights = _weights(torch.tensor(spans), GRID, SIDE).flatten(0, 1)
    seen = weights @ (torch.from_numpy(grids_VCGG).float() @ weights.T)
    parts = seen.reshape(*seen.shape[:2], len(spans), SIDE, len(spans), SIDE)
    return unit(parts.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))


def unit(pixels: Tensor) -> Tensor:
    """Return rows (the last axis) without their mean, scaled to length 1; those of one colour become zeros."""
    centred = pixels - pixels.mean(dim=-1, keepdim=True)
    return centred / centred.norm(dim=-1, keepdim=True).clamp_min(1e-3)


def aligned(one_PCGG: np.ndarray, other_PCGG: np.ndarray, windows_P4: np.ndarray, steps: int = 2) -> np.ndarray:
    """Return how far each first view, at the best window near the given one, is from the second view, float32 ``[P]``.

    It is the distance of unit vectors of 16 px a side: the root of 2 (1 - correlation), 0 for equal ones. The window is
    bettered by steps of Gauss-Newton in its four edges, and a step that makes it worse is not taken.
    """
    one = torch.from_numpy(one_PCGG).float()
    whole = torch.from_numpy(WINDOWS[:1]).expand(len(other_PCGG), 4)
    fixed = unit(_within(torch.from_numpy(other_PCGG).float(), whole, FINE).flatten(1))
    at = torch.from_numpy(np.array(windows_P4, np.float32))
    best = torch.full((len(at),), torch.inf)
    tried = at
    for step in range(steps + 1):
        seen = unit(_within(one, tried, FINE).flatten(1))
        apart = (seen - fixed).norm(dim=1)
        better = apart < best
        best = torch.where(better, apart, best)
        at = torch.where(better[:, None], tried, at)
        if step == steps:
            break
        nudges = torch.eye(4) * NUDGE
        slopes = torch.stack([unit(_within(one, tried + nudge, FINE).flatten(1)) - seen for nudge in nudges], dim=2)
        slopes = slopes / NUDGE
        normal = slopes.mT @ slopes + 1e-3 * torch.eye(4)
        move = torch.linalg.solve(normal, slopes.mT @ (fixed - seen)[..., None])[..., 0]
        tried = (tried + move.clamp(-0.08, 0.08)).clamp(-0.1, 1.1)
    return best.numpy()


def _within(grids_VCGG: Tensor, windows_V4: Tensor, side: int) -> Tensor:
    height, width = grids_VCGG.shape[-2:]
    x, y = _weights(windows_V4[:, :2], width, side), _weights(windows_V4[:, 2:], height, side)
    return y[:, None] @ grids_VCGG @ x[:, None].mT


def _weights(spans_V2: Tensor, size: int, side: int) -> Tensor:
    """Return what each of ``size`` pixels counts in each of ``side`` within a span, float32 ``[V, side, size]``."""
    start, end = spans_V2[:, :1] * size, spans_V2[:, 1:] * size
    step = (end - start) / side
    centres = start + step * (torch.arange(side) + 0.5)
    reach = step.clamp_min(1.0)[..., None]
    weights = (1 - (centres[..., None] - (torch.arange(size) + 0.5)).abs() / reach).clamp_min(0)
    return weights / weights.sum(dim=2, keepdim=True).clamp_min(1e-6)


def _contents(images: np.ndarray) -> np.ndarray:
    """Return [x0, x1, y0, y1] in px of what is within a ground of the first pixel's colour, float32 ``[N, 4]``.

    The whole frame where no edge is of one colour, or where less than a quarter of a side would be left.
    """
    height, width = images.shape[1:3]
    corners = [images[:, y, x] for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))]
    ground = np.median(np.stack(corners).astype(np.int16), axis=0)[:, None, None]
    drawn = (np.abs(images.astype(np.int16) - ground) > GROUND).any(axis=3)
    boxes = []
    for lines, size in ((drawn.any(axis=1), width), (drawn.any(axis=2), height)):
        first, last = lines.argmax(axis=1), size - lines[:, ::-1].argmax(axis=1)
        small = (last - first) * 4 < size
        boxes += [np.where(small, 0, first), np.where(small, size, last)]
    return np.stack(boxes, axis=1).astype(np.float32)


def _resampled(images: np.ndarray, rows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    height, width = images.shape[1:3]
    shares = torch.from_numpy(np.array(boxes)) / torch.tensor([width, width, height, height])
    whole = torch.tensor([[0.0, 1.0]])
    x, y = _weights(whole, width, GRID)[0], _weights(whole, height, GRID)[0]
    grids = np.empty((len(rows), images.shape[3], GRID, GRID), np.uint8)
    for start in range(0, len(rows), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        pixels = torch.from_numpy(images[rows[part]]).permute(0, 3, 1, 2).float()
        found = y @ (pixels @ x.T)
        boxed = (shares[part] != torch.from_numpy(WINDOWS[0])).any(dim=1)
        if boxed.any():
            found[boxed] = _within(pixels[boxed], shares[part][boxed], GRID)
        grids[part] = found.round().clamp(0, 255).to(torch.uint8).numpy()
    return grids
