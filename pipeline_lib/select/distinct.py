"""Source images that should not be chosen by any method: copies, leaks of the target's test split, wrong labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pipeline_lib.audit import duplicates, near
from pipeline_lib.audit.errors import suspected_errors
from pipeline_lib.data.roles import Role


@dataclass(frozen=True)
class Searched:
    """Source and target, and what is computed of them once, if at all.

    ``features_ND`` describe the source's images and ``classes_N`` (text, None for "not labelled") are their classes;
    both are of use to label errors alone.
    """

    source: Role
    target: Role
    features_ND: np.ndarray  # noqa: N815
    classes_N: np.ndarray | None  # noqa: N815
    seed: int

    @cached_property
    def source_digests(self) -> pd.Series:
        """A digest of the pixels of each source image, None for one of a single colour."""
        return pd.Series(duplicates.digests(self.source.images), dtype=object)

    @cached_property
    def target_digests(self) -> pd.Series:
        """The same of the target's images."""
        return pd.Series(duplicates.digests(self.target.images), dtype=object)

    @cached_property
    def source_views(self) -> near.Set:
        """The source as near duplicates are searched for."""
        return near.see(self.source.images, self.source_digests.tolist())


def tested(searched: Searched) -> np.ndarray:
    """Say of each source image whether it has the group, or the very bytes, of a target's test image, bool ``[N]``.

    Pretraining reads no labels, and yet another image of a patient, say, who is tested on would be known to it.
    """
    return searched.source.table["near_test"].to_numpy(dtype=bool)


def repeated(searched: Searched) -> np.ndarray:
    """Say of each source image whether it equals an earlier one pixel for pixel, bool ``[N]``."""
    digests = searched.source_digests
    return (digests.duplicated() & digests.notna()).to_numpy()


def nearly_repeated(searched: Searched) -> np.ndarray:
    """Say of each source image whether it is nearly, or exactly, an earlier one that stays, bool ``[N]``."""
    found = repeated(searched).copy()
    pairs = near.near_duplicates(searched.source_views, searched.source_views, searched.seed).pairs
    for first, second in pairs[np.lexsort(pairs.T)]:  # by the second, so that whether the first stays is known
        found[second] |= not found[first]
    return found


def leaking(searched: Searched) -> np.ndarray:
    """Say of each source image whether it is nearly, or exactly, a test image of the target, bool ``[N]``."""
    source, target = searched.source_digests, searched.target_digests
    tests = target[searched.target.rows("test")].dropna()
    views = near.see(searched.target.images, target.tolist())
    pairs = near.near_duplicates(searched.source_views, views, searched.seed).pairs
    # Of equal images the search knows the first alone, which may be in the other split.
    to_test = pairs[target[pairs[:, 1]].isin(tests).to_numpy(), 0]
    found: np.ndarray = source.isin([*tests, *source[to_test]]).to_numpy()
    return found


def mislabelled(searched: Searched) -> np.ndarray:
    """Say of each source image whether its label is believed to be wrong, bool ``[N]``."""
    found = np.zeros(len(searched.source), dtype=bool)
    keys_N = searched.source.table["key"].to_numpy(dtype=str)
    if searched.classes_N is None:
        raise ValueError("label errors are suspected of labels")
    suspicion = suspected_errors(searched.features_ND, searched.classes_N, keys_N, searched.seed)
    found[suspicion.doubtful[: suspicion.num_suspected]] = True
    return found


# In the order in which an image is counted that has several of them. The first of them nobody has to ask for.
ALWAYS = "tested"
REASONS: Mapping[str, Callable[[Searched], np.ndarray]] = {
    ALWAYS: tested,
    "leaks": leaking,
    "duplicates": repeated,
    "near_duplicates": nearly_repeated,
    "label_errors": mislabelled,
}


def left_out(searched: Searched, reasons: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the source images (bool ``[N]`` each) that go for each of ``reasons``; an image is under one of them."""
    gone = np.zeros(len(searched.source), dtype=bool)
    found = {}
    for name in (name for name in REASONS if name in reasons):
        found[name] = REASONS[name](searched) & ~gone
        gone |= found[name]
    return found
