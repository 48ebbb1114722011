"""Keep images that no other image is far from: the greedy k-centre (Gonzalez 1985; Sener and Savarese 2018).

Departs from the authors: nothing is labelled yet, so the first centre is the image nearest to the mean; of a large
source the centres of random parts are chosen, one part after the other.
"""

from collections.abc import Callable

import numpy as np

from pipeline_lib.core.progress import progress
from pipeline_lib.select.selection import Selection, wanted_size
from pipeline_lib.select.shares import proportional, random_parts

# Every centre is compared with all images of its part.
PART = 20_000


def k_center(source_ND: np.ndarray, target_MD: np.ndarray, size: int | None, seed: int) -> Selection:
    """Keep ``size`` centres with equal weights.

    ``covering_radius`` is the largest distance of an image to the nearest centre of its part, at most twice the least
    that so many centres can have. There is one part up to 20,000 images.
    """
    wanted = wanted_size(size, len(source_ND))
    parts = random_parts(len(source_ND), PART, seed)
    counts = proportional(np.array([len(part) for part in parts]), wanted)
    found, radius = [], 0.0
    with progress("centres", wanted) as tracker:
        for part, count in zip(parts, counts, strict=True):
            centres, left = greedy_centres(source_ND[part], int(count), tracker.advance)
            found.append(part[centres])
            radius = max(radius, left)
    rows = np.sort(np.concatenate(found))
    return Selection(rows, np.ones(len(rows)), {"covering_radius": radius, "parts": len(parts)})


def greedy_centres(features_ND: np.ndarray, count: int, chosen: Callable[[], None]) -> tuple[list[int], float]:
    """Return ``count`` rows, each the farthest from those before, and the largest distance to them that is left.

    ``chosen`` is called after each.
    """
    if not count:
        return [], float("nan")
    centres = [int(np.square(features_ND - features_ND.mean(axis=0)).sum(axis=1).argmin())]
    left_N = np.full(len(features_ND), np.inf)
    while True:
        left_N = np.minimum(left_N, np.square(features_ND - features_ND[centres[-1]]).sum(axis=1))
        left_N[centres[-1]] = -1  # chosen once, also where all that are left equal a centre
        chosen()
        if len(centres) == count:
            return centres, float(np.sqrt(left_N.max().clip(0)))
        centres.append(int(left_N.argmax()))
