"""Keep source images at random: the choice that every other selector has to beat."""

import numpy as np

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.select.selection import Selection, wanted_size


def random(source_ND: np.ndarray, target_MD: np.ndarray, size: int | None, seed: int) -> Selection:
    """Keep ``size`` images drawn evenly without replacement, with equal weights."""
    rng = np.random.default_rng(derive_seed(seed, "select random"))
    rows = np.sort(rng.choice(len(source_ND), wanted_size(size, len(source_ND)), replace=False))
    return Selection(rows, np.ones(len(rows)))
