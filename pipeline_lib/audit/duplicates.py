"""Images that are equal pixel for pixel once framed, within a set and between sets."""

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline_lib.data.rows import Images
from pipeline_lib.stats.components import batches


def digests(images: Images | np.ndarray) -> list[str | None]:
    """Return a digest of the framed pixels of each image (uint8 ``[N, H, W, C]``), None for one of a single colour.

    Blank images are equal without being copies of each other, so they are left out here and counted by themselves.
    """
    return [
        None if image.min() == image.max() else hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()
        for batch in batches(images)
        for image in batch
    ]


def within(digests_N: Sequence[str | None]) -> int:
    """Return how many images repeat an earlier one of the same set."""
    known = [digest for digest in digests_N if digest]
    return len(known) - len(set(known))


def across(one_N: Sequence[str | None], other_M: Sequence[str | None]) -> list[tuple[int, int]]:
    """Return for each image of ``other`` that is also in ``one`` the pair of row numbers (first in one, in other)."""
    first: dict[str, int] = {}
    for row, digest in enumerate(one_N):
        if digest:
            first.setdefault(digest, row)
    return [(first[digest], row) for row, digest in enumerate(other_M) if digest and digest in first]


def same(one_N: Sequence[str | None], other_M: Sequence[str | None]) -> bool:
    """Return whether two sets have the very same images, those of a single colour aside."""
    one, other = ({digest for digest in found if digest} for found in (one_N, other_M))
    return bool(one) and one == other
