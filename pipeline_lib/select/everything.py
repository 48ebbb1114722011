"""Keep every source image."""

import numpy as np

from pipeline_lib.core.errors import UserError
from pipeline_lib.select.selection import Selection


def everything(source_ND: np.ndarray, target_MD: np.ndarray, size: int | None, seed: int) -> Selection:
    """Keep all images with equal weights; raise UserError where ``size`` asks for a choice."""
    if size not in (None, len(source_ND)):
        raise UserError(
            f"size is {size}, but the method 'everything' keeps all {len(source_ND)} images: "
            "set it to null, or choose another method, such as random"
        )
    return Selection(np.arange(len(source_ND)), np.ones(len(source_ND)))
