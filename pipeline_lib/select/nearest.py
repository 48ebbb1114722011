"""Keep the source images that lie nearest to images of the target."""

from typing import Annotated

import numpy as np

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import track
from pipeline_lib.core.registry import Range
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.select.selection import Selection, least, wanted_size
from pipeline_lib.stats.neighbours import mean_distances

# Images of the target that distances are taken to, at random of more.
MOST_TARGET = 5000
BLOCK = 8192


def nearest(
    source_ND: np.ndarray,
    target_MD: np.ndarray,
    size: int | None,
    seed: int,
    *,
    neighbors: Annotated[int, Range(ge=1)] = 5,
) -> Selection:
    """Keep the images whose mean distance to their ``neighbors`` nearest target images is smallest.

    They have equal weights. Of a target of fewer images all are neighbours. ``mean_distance`` is that of the kept
    images, ``mean_distance_of_all`` that of the whole source.
    """
    wanted = wanted_size(size, len(source_ND))
    if not len(target_MD):
        raise UserError(
            "method is 'nearest', but the target has no image to be near to: choose another, such as random"
        )
    rng = np.random.default_rng(derive_seed(seed, "select nearest"))
    looked_at = target_MD[np.sort(rng.permutation(len(target_MD))[:MOST_TARGET])]
    starts = range(0, len(source_ND), BLOCK)
    distance_N = np.concatenate(
        [
            mean_distances(source_ND[start : start + BLOCK], looked_at, neighbors)
            for start in track(starts, "distances to the target", len(starts))
        ]
    )
    rows = least(distance_N, wanted)
    metrics = {"mean_distance": float(distance_N[rows].mean()), "mean_distance_of_all": float(distance_N.mean())}
    return Selection(rows, np.ones(len(rows)), metrics)
