"""Keep the source images that are most like the target, and least like the rest of the source."""

import numpy as np

from pipeline_lib.select.importance import paired
from pipeline_lib.select.ratios import RATIOS, By
from pipeline_lib.select.selection import Selection, least, wanted_size


def density_ratio(
    source_ND: np.ndarray, target_MD: np.ndarray, size: int | None, seed: int, *, by: By = "classifier"
) -> Selection:
    """Keep the images of the largest p_target(x) / p_source(x), with equal weights.

    Only the order of the ratios matters, which is why it means something also where the sets are far apart.
    """
    wanted = wanted_size(size, len(source_ND))
    pair = paired(source_ND, target_MD, seed, "density_ratio")
    rows = least(-RATIOS[by](pair), wanted)
    return Selection(rows, np.ones(len(rows)), {"domain_auc": pair.domain_auc})
