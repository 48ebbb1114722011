"""The pictures most like each picture, among many, in less than all comparisons."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from pipeline_lib.audit.views import whole_views, windows
from pipeline_lib.core.processes import num_cores
from pipeline_lib.core.progress import track

COMPONENTS = 32
NEIGHBOURS = 12
# Views are kept in cells of about so many, and a window is compared with those of its nearest cells alone.
CELL, PROBES = 256, 4
PER_PROBE = 8  # of a cell that are kept for each window
ROUNDS = 6  # of k-means
FIT_ON = 20_000
BLOCK = 2048  # views that are searched for at once
THREADS = 8  # at most, for each holds the windows of a block


@dataclass(frozen=True)
class Views:
    """The views of a set: their grids uint8 ``[V, C, 24, 24]``, and the image of each, int64 ``[V]``, ascending."""

    grids: np.ndarray
    owners: np.ndarray


@dataclass(frozen=True)
class Neighbours:
    """The neighbours of views, nearest first: arrays ``[V, K]``.

    ``views`` are rows of the other set, -1 where there is none; ``windows`` the windows they are seen in;
    ``distances`` are Euclidean, infinite where there is no neighbour.
    """

    views: np.ndarray
    windows: np.ndarray
    distances: np.ndarray


def basis(grids_VCGG: np.ndarray) -> Tensor:
    """Return the leading principal directions of whole views, float32 ``[C * 12 * 12, 32 at most]``."""
    seen = torch.cat([whole_views(part) for part in _blocks(grids_VCGG)])
    _, vectors = torch.linalg.eigh(seen.T @ seen)
    return vectors.flip(1)[:, :COMPONENTS].contiguous()


def nearest(one: Views, other: Views, basis_DK: Tensor, sampled: np.ndarray) -> Neighbours:
    """Return for each view of ``one`` its neighbours in ``other`` when seen in any of its windows.

    An image is no neighbour of itself: that is meant where both are the same object. Of several views of one image the
    nearest counts. ``sampled`` are the rows of ``other`` that the cells are made of. Memory does not grow with
    the product of both sizes, and the result depends neither on the size of blocks nor on the number of threads.
    """
    index = torch.cat([_project(whole_views(part), basis_DK) for part in _blocks(other.grids)])
    centres = _centres(index[torch.from_numpy(sampled)], max(1, len(index) // CELL))
    cell_of = torch.cat([(part @ centres.T).argmax(dim=1) for part in torch.split(index, BLOCK)])
    order = cell_of.argsort(stable=True)
    ends = torch.bincount(cell_of, minlength=len(centres)).cumsum(0)
    cells = torch.tensor_split(order, ends[:-1])
    owners = torch.from_numpy(other.owners)

    def search(start: int) -> tuple[Tensor, Tensor, Tensor]:
        part = slice(start, start + BLOCK)
        own = torch.from_numpy(one.owners[part]) if one is other else None
        return _search(_project(windows(one.grids[part]), basis_DK), index, centres, cells, owners, own)

    starts = range(0, len(one.owners), BLOCK)
    # Each thread has a block to itself and does its arithmetic alone, so that sums are the same however many there are.
    with ThreadPoolExecutor(min(num_cores(), THREADS), initializer=lambda: threadpool_limits(1)) as pool:
        found = list(track(pool.map(search, starts), "near duplicates", len(starts)))
    return Neighbours(*(torch.cat(parts).numpy() for parts in zip(*found, strict=True)))


def _search(
    seen_BWK: Tensor, index: Tensor, centres: Tensor, cells: Sequence[Tensor], owners: Tensor, own: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    num, per_view, _ = seen_BWK.shape
    queries = seen_BWK.flatten(0, 1)
    probes = min(PROBES, len(centres))
    probed = (queries @ centres.T).topk(probes, dim=1).indices.flatten()
    closeness = torch.full((len(probed), PER_PROBE), -torch.inf)
    rows = torch.full((len(probed), PER_PROBE), -1)
    slots = probed.argsort(stable=True)
    ends = torch.bincount(probed, minlength=len(centres)).cumsum(0)
    for members, asked in zip(cells, torch.tensor_split(slots, ends[:-1]), strict=True):
        if not len(members) or not len(asked):
            continue
        query = asked // probes
        close = queries[query] @ index[members].T
        if own is not None:
            close[own[query // per_view][:, None] == owners[members]] = -torch.inf
        kept = min(PER_PROBE, len(members))
        values, places = close.topk(kept, dim=1)
        closeness[asked, :kept], rows[asked, :kept] = values, members[places]
    return _distinct(closeness.view(num, -1), rows.view(num, -1), probes * PER_PROBE, owners)


def _distinct(closeness: Tensor, rows: Tensor, per_window: int, owners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows, windows and distances of the closest of distinct images."""
    values, places = closeness.topk(min(8 * NEIGHBOURS, closeness.shape[1]), dim=1)
    rows = rows.gather(1, places)
    image = torch.where(rows >= 0, owners[rows], -1)
    again = (image[:, :, None] == image[:, None, :]).tril(-1).any(dim=2)
    values = values.masked_fill(again | (rows < 0), -torch.inf)
    values, kept = values.topk(min(NEIGHBOURS, values.shape[1]), dim=1)
    distances = (2 - 2 * values).clamp_min(0).sqrt()
    none = values == -torch.inf
    return (
        rows.gather(1, kept).masked_fill(none, -1),
        (places // per_window).gather(1, kept),
        distances.masked_fill(none, torch.inf),
    )


def _project(seen: Tensor, basis_DK: Tensor) -> Tensor:
    return torch.nn.functional.normalize(seen @ basis_DK, dim=-1)


def _centres(points: Tensor, num: int) -> Tensor:
    """Return the centres of ``num`` cells by spherical k-means, that begins at points evenly apart in their order."""
    num = min(num, len(points))
    centres = points[torch.linspace(0, len(points) - 1, num).long()]
    for _ in range(ROUNDS if num > 1 else 0):
        nearest_N = torch.cat([(part @ centres.T).argmax(dim=1) for part in torch.split(points, BLOCK)])
        sums = torch.zeros_like(centres).index_add_(0, nearest_N, points)
        centres = torch.where(sums.norm(dim=1, keepdim=True) > 0, torch.nn.functional.normalize(sums), centres)
    return centres


def _blocks(grids: np.ndarray) -> list[np.ndarray]:
    return [grids[start : start + BLOCK] for start in range(0, max(1, len(grids)), BLOCK)]
