"""Images that are copies of others though not equal: cropped, rescaled, re-encoded, reframed, of other contrast.

How alike two pictures must be is learnt from the images themselves: copies are planted among them, and a pair counts
as long as it is as alike as those are while unrelated images are not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from torch import Tensor

from pipeline_lib.audit.alterations import ALTERATIONS, alter
from pipeline_lib.audit.nearest import FIT_ON, Neighbours, Views, basis, nearest
from pipeline_lib.audit.threshold import Threshold, calibrate
from pipeline_lib.audit.views import WINDOWS, aligned, grids
from pipeline_lib.core.progress import track
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Images

# With fewer images, nothing can be said about what unrelated ones look like.
LEAST_IMAGES = 50
PLANTED = 60  # copies of each alteration
JUDGED = 1000  # images whose nearest other tells what unrelated ones are like
ROUGH = 0.98  # share of planted copies that are found before alignment, below which pairs are aligned
VERIFIED = 3  # neighbours of a view that are compared in detail
# A distance counts by how far away others are, to this power: in a crowd, unrelated images are alike, too.
CROWDING = 0.5
LEAST_SCALE = 0.01  # so that a crowd of equal images does not divide by nothing
ALIGNED = 4096  # pairs that are compared at once


@dataclass(frozen=True)
class Near:
    """Near duplicates: rows int64 ``[P, 2]``, most alike first, and the threshold that they are below.

    There is no threshold, and no pair, where there are too few images to learn it from.
    """

    pairs: np.ndarray
    threshold: Threshold | None


@dataclass(frozen=True)
class Set:
    """A set to be searched: its images (uint8 ``[N, H, W, C]``), and views of the first of equal images each.

    ``sample`` are rows with a view in an order that is that of the digests, and so the same for the same images.
    """

    images: Images | np.ndarray
    views: Views
    sample: np.ndarray


class _Seen(NamedTuple):
    """Candidates, arrays ``[Q]``: view ``a``, seen in the window ``window``, looks like view ``b``.

    ``viewer`` and ``viewed`` are the views that a and b count among. ``bound`` is what a distance is divided by to
    make a score, and ``rough`` the score of the distance that candidates are found by.
    """

    viewer: Views
    viewed: Views
    a: np.ndarray
    b: np.ndarray
    window: np.ndarray
    bound: np.ndarray
    rough: np.ndarray

    def take(self, which: np.ndarray) -> "_Seen":
        """Return some of them."""
        return _Seen(self.viewer, self.viewed, *(values[which] for values in self[2:]))

    @property
    def images(self) -> np.ndarray:
        """The image that is seen and the one that it is like, int64 ``[Q, 2]``."""
        return np.stack([self.viewer.owners[self.a], self.viewed.owners[self.b]], axis=1)


@threadpool_limits.wrap(limits=1)
def see(images: Images | np.ndarray, digests: Sequence[str | None]) -> Set:
    """Return a set as it is searched, given the digest of each image (None for one of a single colour)."""
    first: dict[str, int] = {}
    for row, digest in enumerate(digests):
        if digest:
            first.setdefault(digest, row)
    views, owners = grids(images)
    kept = np.isin(owners, list(first.values()))
    sample = np.array([first[digest] for digest in sorted(first)[:FIT_ON]], dtype=np.int64)
    return Set(images, Views(views[kept], owners[kept]), sample)


@threadpool_limits.wrap(limits=1)
def near_duplicates(one: Set, other: Set, seed: int) -> Near:
    """Return pairs of near duplicates (row of one, row of other); within a set if both are the same object.

    Pairs of a set have the lower row first. Equal images of one set count once, and no score of a pair depends on the
    order of the images.
    """
    if min(len(one.sample), len(other.sample)) < LEAST_IMAGES:
        return Near(np.zeros((0, 2), np.int64), None)
    samples = [_views_of(each, each.sample) for each in (one, other)]
    directions = basis(
        np.concatenate([each.views.grids[rows] for each, rows in zip((one, other), samples, strict=True)])
    )
    forward = nearest(one.views, other.views, directions, samples[1])
    backward = forward if one is other else nearest(other.views, one.views, directions, samples[0])
    scales = _scales(forward, one.views), _scales(backward, other.views)
    seen = [_seen(forward, one.views, other.views, *scales)]
    if one is not other:
        seen.append(_seen(backward, other.views, one.views, *scales[::-1]))

    planted, limit = _planted(one, forward, directions, samples[0], scales[0], seed)
    judged = other.sample[:JUDGED]
    columns = [0, 1] if one is other else [1]
    images, scores = _judge(seen, one is other, lambda pairs, _: np.isin(pairs[:, columns], judged).max(axis=1))
    best = np.full(len(other.images), np.inf)
    for column in columns:
        np.minimum.at(best, images[:, column], scores)
    threshold = calibrate(planted, best[judged])
    images, scores = _judge(seen, one is other, lambda _, rough: rough <= limit)
    alike = scores <= threshold.score
    order = np.lexsort([images[alike, 1], images[alike, 0], scores[alike]])
    pairs = images[alike][order]
    _, firsts = np.unique(pairs, axis=0, return_index=True)
    return Near(pairs[np.sort(firsts)], threshold)


def _planted(
    one: Set, forward: Neighbours, directions: Tensor, sampled: np.ndarray, scales: np.ndarray, seed: int
) -> tuple[dict[str, np.ndarray], float]:
    """Return the scores of planted copies by alteration, infinite for one missed, and a rough score of most."""
    rng = np.random.default_rng(derive_seed(seed, "planted copies"))
    kinds = [kind for kind in ALTERATIONS if kind != "exact"]
    of = np.resize(one.sample, PLANTED * len(kinds))
    pictures = one.images[np.sort(np.unique(of))][np.unique(of, return_inverse=True)[1]]
    parts = [alter(part, kind, rng) for kind, part in zip(kinds, np.split(pictures, len(kinds)), strict=True)]
    copies = Views(*grids(np.concatenate(parts)))
    found = nearest(copies, one.views, directions, sampled)
    scales_of_copies = _scales(found, copies, len(of))
    seen = _seen(found, copies, one.views, scales_of_copies, scales)
    seen = seen.take(of[seen.images[:, 0]] == seen.images[:, 1])

    originals = _views_of(one, np.unique(of))
    shown = Views(one.views.grids[originals], one.views.owners[originals])
    back = nearest(shown, copies, directions, np.arange(len(copies.owners)))
    # An original finds its copy if no more than two others are nearer.
    third = forward.distances[originals, min(VERIFIED, forward.distances.shape[1]) - 1]
    reverse = _seen(back, shown, copies, scales, scales_of_copies, most=back.views.shape[1])
    nearer = reverse.rough * reverse.bound <= third[reverse.a]
    reverse = reverse.take(nearer & (reverse.images[:, 0] == of[reverse.images[:, 1]]))

    best = np.full(len(of), np.inf)
    np.minimum.at(best, seen.images[:, 0], _scores(seen))
    np.minimum.at(best, reverse.images[:, 1], _scores(reverse))
    rough = np.concatenate([seen.rough, reverse.rough, [0.0]])
    return dict(zip(kinds, np.split(best, len(kinds)), strict=True)), float(np.quantile(rough, ROUGH))


def _views_of(one: Set, images: np.ndarray) -> np.ndarray:
    """Return the rows of the views of some images, in the order of the images."""
    first = np.searchsorted(one.views.owners, images)
    last = np.searchsorted(one.views.owners, images, side="right")
    return np.concatenate([np.arange(start, end) for start, end in zip(first, last, strict=True)])


def _scales(found: Neighbours, views: Views, num: int | None = None) -> np.ndarray:
    """Return the distance of each image to the last of its neighbours, float32 ``[N]``: small where all are alike."""
    last = np.where(np.isfinite(found.distances), found.distances, 0).max(axis=1)
    scales = np.full(views.owners.max() + 1 if num is None else num, np.inf, np.float32)
    np.minimum.at(scales, views.owners, np.maximum(last, LEAST_SCALE))
    return scales


def _seen(
    found: Neighbours, viewer: Views, viewed: Views, scales_a: np.ndarray, scales_b: np.ndarray, most: int = VERIFIED
) -> _Seen:
    there = np.isfinite(found.distances[:, :most])
    a, _ = np.nonzero(there)
    b, window, distance = (values[:, :most][there] for values in (found.views, found.windows, found.distances))
    bound = np.minimum(scales_a[viewer.owners[a]], scales_b[viewed.owners[b]]) ** CROWDING
    return _Seen(viewer, viewed, a, b, window, bound, distance / bound)


def _scores(seen: _Seen) -> np.ndarray:
    """Return how unlike candidates are, once aligned, measured by how unlike other images are around them."""
    starts = range(0, len(seen.a), ALIGNED)
    found = [
        aligned(seen.viewer.grids[seen.a[part]], seen.viewed.grids[seen.b[part]], WINDOWS[seen.window[part]])
        for start in track(starts, "alignment", len(starts))
        for part in [slice(start, start + ALIGNED)]
    ]
    return np.concatenate([*found, np.zeros(0, np.float32)]) / seen.bound


def _judge(
    seen: Sequence[_Seen], is_within: bool, which: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs (row of one, row of other), int64 ``[P, 2]``, and their scores.

    ``which`` chooses by pairs and rough scores.
    """
    pairs, scores = [], []
    for turned, each in enumerate(seen):
        # What was found by the images of the other set is turned round.
        images = each.images[:, ::-1] if turned else each.images
        chosen = which(images, each.rough)
        pairs.append(np.sort(images[chosen], axis=1) if is_within else images[chosen])
        scores.append(_scores(each.take(chosen)))
    return np.concatenate(pairs), np.concatenate(scores)
