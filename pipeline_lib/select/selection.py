"""What a selector returns, and what they share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import Range

# The most that an image may count for; on average they count 1.
Weight = Annotated[float, Range(gt=1)]


@dataclass(frozen=True)
class Selection:
    """The rows of the source that training uses (int64 ``[K]``, rising) and their weights (float64 ``[K]``, > 0).

    ``metrics`` are further flat numbers about the choice; ``warnings`` are sentences that the user should read.
    """

    rows: np.ndarray
    weights: np.ndarray
    metrics: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def wanted_size(size: int | None, num_source: int) -> int:
    """Return how many images to keep, all of them for None; raise UserError for more than there are."""
    if size is not None and size > num_source:
        raise UserError(
            f"size is {size}, but the source has {num_source} images to choose from: "
            f"set it to at most {num_source}, or to null to keep all"
        )
    return num_source if size is None else size


def least(scores_N: np.ndarray, wanted: int) -> np.ndarray:
    """Return the rows of the ``wanted`` smallest scores (int64 ``[K]``, rising), the first of equal ones."""
    return np.sort(np.argsort(scores_N, kind="stable")[:wanted])


def clipped(weights_N: np.ndarray, max_weight: float) -> np.ndarray:
    """Return positive weights of mean 1, the largest of them cut so that none is above ``max_weight`` (> 1).

    Clipping trades a little bias for much less variance (Ionides 2008).
    """
    descending = np.sort(weights_N)[::-1]
    rest = np.cumsum(descending[::-1])[::-1]
    # With the m largest cut to the cap c: m c + rest[m] = N c / max_weight, and rest[m] must hold none above c.
    room = len(weights_N) / max_weight - np.arange(len(weights_N))
    num_cut = np.argmax((room > 0) & (descending * room <= rest))
    weights = np.minimum(weights_N, rest[num_cut] / room[num_cut])
    return weights / weights.mean()
