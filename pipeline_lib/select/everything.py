"""Keep every source image."""

import numpy as np

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.rows import Images
from pipeline_lib.select.selection import Selection


def everything(source: Images | np.ndarray, target: Images | np.ndarray, size: int | None, seed: int) -> Selection:
    """Keep all images with equal weights; raise UserError where ``size`` asks for a choice."""
    if size not in (None, len(source)):
        raise UserError(
            f"size is {size}, but the method 'everything' keeps all {len(source)} images: "
            "set it to null, or choose another method, such as random"
        )
    return Selection(np.arange(len(source)), np.ones(len(source)))
