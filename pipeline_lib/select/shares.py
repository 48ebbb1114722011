"""Shares of a choice that groups of images get, and groups to divide large sets into."""

import numpy as np

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.select.selection import Selection, clipped


def evenly(groups_N: np.ndarray, wanted: int, max_weight: float, seed: int) -> Selection:
    """Keep about equally many images of every group (``groups_N`` are numbers from 0, int64).

    A group with fewer images than its share gives all it has and the others fill up. What stays uneven is evened out by
    weights, clipped at ``max_weight`` (their mean is 1), so that groups that are kept whole count alike, too.
    """
    kept = quotas(np.bincount(groups_N), wanted)
    rows = drawn(groups_N, kept, seed)
    weights = clipped(1 / kept[groups_N[rows]], max_weight)
    return Selection(rows, weights, {"smallest_group": int(kept.min()), "largest_group": int(kept.max())})


def quotas(available_K: np.ndarray, wanted: int) -> np.ndarray:
    """Share ``wanted`` images among groups as evenly as ``available_K`` (int) allows; return int64 ``[K]``."""
    quota = np.zeros(len(available_K), dtype=np.int64)
    for rank, index in enumerate(np.argsort(available_K, kind="stable")):
        quota[index] = min(available_K[index], (wanted - quota.sum()) // (len(available_K) - rank))
    return quota


def proportional(available_K: np.ndarray, wanted: int) -> np.ndarray:
    """Share ``wanted`` images among groups by their size, to the largest remainders; return int64 ``[K]``."""
    exact = available_K * (wanted / max(available_K.sum(), 1))
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: wanted - quota.sum()]] += 1
    return quota


def drawn(groups_N: np.ndarray, quota_K: np.ndarray, seed: int) -> np.ndarray:
    """Return rows (int64, rising), so many of each group, at random without repetition."""
    rng = np.random.default_rng(derive_seed(seed, "draw from groups"))
    chosen = [
        rng.choice(np.flatnonzero(groups_N == group), count, replace=False) for group, count in enumerate(quota_K)
    ]
    return np.sort(np.concatenate(chosen))


def random_parts(num: int, most: int, seed: int) -> list[np.ndarray]:
    """Divide ``num`` rows at random into as few parts of at most ``most`` as hold them; return int64, rising, each."""
    if num <= most:
        return [np.arange(num)]
    order = np.random.default_rng(derive_seed(seed, "parts")).permutation(num)
    return [np.sort(part) for part in np.array_split(order, -(-num // most))]
