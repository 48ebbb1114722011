"""How sure a number is: training seeds, random draws and images are each a sample, and all of them count.

A number is computed for S training seeds, R random draws (of labels, of restarts) and, leaving out one of J blocks
of test images at a time, J times more. Two methods are compared by the difference of their replicates, seed by seed,
draw by draw and image by image, so that what both share drops out. S and R say what was repeated: with one seed the
interval is about that one training, and does not know how the next would end.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import t as student

from pipeline_lib.core.seeds import derive_seed

LEVEL = 0.95
# The spread of fewer blocks says too little about the spread of images: no interval is better than a wrong one.
MIN_BLOCKS = 8
SEEDS, DRAWS, BLOCKS = 0, 1, 2


@dataclass(frozen=True)
class Replicates:
    """A number, for each seed and draw, of all images and without each of the blocks.

    ``values_SR`` is float64 ``[S, R]`` and ``left_out_SRJ`` float64 ``[S, R, J]``.
    """

    values_SR: np.ndarray  # noqa: N815
    left_out_SRJ: np.ndarray  # noqa: N815

    def __post_init__(self) -> None:
        """Raise ValueError where the shapes do not belong together."""
        if self.values_SR.ndim != 2 or self.left_out_SRJ.shape[:-1] != self.values_SR.shape:
            raise ValueError(f"{self.left_out_SRJ.shape} is not {self.values_SR.shape} and an axis of blocks")

    def __sub__(self, other: "Replicates") -> "Replicates":
        """Return the paired difference; what was not repeated (S or R of 1) is the same for every seed or draw."""
        return combined(np.subtract, self, other)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval and the two-sided p-value of its being 0.

    ``low`` and ``high`` are None, and ``p`` is NaN, where there are fewer than MIN_BLOCKS blocks or the number is not
    defined without one of them.
    """

    value: float
    low: float | None
    high: float | None
    p: float
    num_seeds: int
    num_draws: int
    num_blocks: int


def blocks_of(keys_N: Sequence[str] | np.ndarray, seed: int, most: int = 100) -> np.ndarray:
    """Return a block for each image, int64 ``[N]`` from 0: one block a key, or ``most`` blocks of several keys.

    Images of one key (a patient, say) are no independent witnesses, so they stay together. Blocks hold about equally
    many images: keys in random order, the largest first, each go where there are fewest. Give the keys of just those
    images that have a part in the number.
    """
    _, key_of_N, size_of_K = np.unique(np.asarray(keys_N, dtype=str), return_inverse=True, return_counts=True)
    order = np.random.default_rng(derive_seed(seed, "blocks")).permutation(len(size_of_K))
    order = order[np.argsort(-size_of_K[order], kind="stable")]
    block_of_K = np.empty(len(size_of_K), dtype=np.int64)
    filled = [(0, block) for block in range(min(most, len(size_of_K)))]
    for key in order:
        size, block = filled[0]
        block_of_K[key] = block
        heapq.heapreplace(filled, (size + int(size_of_K[key]), block))
    return block_of_K[key_of_N]


def replicates(score: Callable[[np.ndarray], float], blocks_N: np.ndarray) -> tuple[float, np.ndarray]:
    """Return ``score`` of all rows and, float64 ``[J]``, of the rows without each block (NaN below MIN_BLOCKS).

    ``score`` takes row numbers, int64, into what ``blocks_N`` belongs to.
    """
    num_blocks = int(blocks_N.max(initial=-1)) + 1
    left_out_J = np.full(num_blocks, np.nan)
    if num_blocks >= MIN_BLOCKS:
        left_out_J[:] = [score(np.flatnonzero(blocks_N != block)) for block in range(num_blocks)]
    return score(np.arange(len(blocks_N))), left_out_J


def joined(results_SR: Sequence[Sequence[tuple[float, np.ndarray]]]) -> Replicates:
    """Return as one what :func:`replicates` returned for each seed and, within it, each draw."""
    values = [[value for value, _ in row] for row in results_SR]
    return Replicates(np.array(values, dtype=np.float64), np.array([[left for _, left in row] for row in results_SR]))


def combined(function: Callable[..., np.ndarray], *parts: Replicates) -> Replicates:
    """Return ``function`` of several numbers with the same blocks, such as their mean: it takes and gives arrays."""
    if len({part.left_out_SRJ.shape[-1] for part in parts}) > 1:
        raise ValueError("only numbers with the same blocks of images can be put together")
    return Replicates(function(*(part.values_SR for part in parts)), function(*(part.left_out_SRJ for part in parts)))


def estimate(found: Replicates) -> Estimate:
    """Return the mean over seeds and draws with Student's t interval and p-value (see :func:`_error`)."""
    value, shape = float(found.values_SR.mean()), found.left_out_SRJ.shape
    if shape[BLOCKS] < MIN_BLOCKS or not np.isfinite(found.left_out_SRJ).all() or not math.isfinite(value):
        return Estimate(value, None, None, math.nan, *shape)
    error, freedom = _error(found)
    # Rounding, not spread: every block, seed and draw agrees.
    if error <= 1e-9 * abs(value):
        return Estimate(value, value, value, 1.0 if value == 0 else 0.0, *shape)
    half = error * float(student.ppf((1 + LEVEL) / 2, freedom))
    return Estimate(value, value - half, value + half, 2 * float(student.sf(abs(value) / error, freedom)), *shape)


def _error(found: Replicates) -> tuple[float, float]:
    """Return the standard error of the mean over seeds and draws, and its degrees of freedom.

    The jackknife's pseudo-values J x - (J - 1) x_without_block (Tukey 1958) make images an axis beside seeds and
    draws: one crossed table with a random effect of each axis and each meeting of axes. With MS_A the mean square of
    the axes A and n the size of the table, MS_A / n is on average the variance that A and all that contains A add to
    the mean; the sum of (-1)^(|A| + 1) MS_A / n over all A therefore counts each once and is unbiased. It is never
    taken to be less than what one axis by itself shows. The degrees of freedom are Satterthwaite's (1946).
    """
    num_blocks = found.left_out_SRJ.shape[BLOCKS]
    pseudo_SRJ = num_blocks * found.values_SR[..., None] - (num_blocks - 1) * found.left_out_SRJ
    freedom = {axis: float(length - 1) for axis, length in enumerate(pseudo_SRJ.shape) if length > 1}
    freedom[BLOCKS] = _effective_freedom(_effect(pseudo_SRJ, (BLOCKS,)).ravel())
    subsets = [axes for size in range(1, len(freedom) + 1) for axes in combinations(sorted(freedom), size)]
    share = {axes: _mean_square_share(pseudo_SRJ, axes) for axes in subsets}
    alone = max(share[axes] for axes in subsets if len(axes) == 1)
    variance = max(alone, sum((-1) ** (len(axes) + 1) * share[axes] for axes in subsets))
    spread = sum(share[axes] ** 2 / math.prod(freedom[axis] for axis in axes) for axes in subsets)
    fewest = min(freedom.values())
    return math.sqrt(variance), max(fewest, variance**2 / spread) if spread else fewest


def _effect(pseudo_SRJ: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Return how much each cell of ``axes`` deviates from what the smaller effects within it explain."""
    others = tuple(axis for axis in (SEEDS, DRAWS, BLOCKS) if axis not in axes)
    cells = pseudo_SRJ.mean(axis=others, keepdims=True)
    for axis in axes:
        cells = cells - cells.mean(axis=axis, keepdims=True)
    return cells


def _mean_square_share(pseudo_SRJ: np.ndarray, axes: tuple[int, ...]) -> float:
    """Return MS_A / n."""
    lengths = [pseudo_SRJ.shape[axis] for axis in axes]
    return float(np.square(_effect(pseudo_SRJ, axes)).sum() / math.prod(length * (length - 1) for length in lengths))


def _effective_freedom(effect_J: np.ndarray) -> float:
    """Return for how many blocks of a normal distribution the spread of these stands, less one; J - 1 at most.

    Where few blocks carry all of the spread (a rare class, a method that is nearly always right), it is known less
    well than J blocks promise. 2 V^2 / Var(V) with fourth moments for Var(V) (Valliant and Rust 2010).
    """
    squares = np.square(effect_J)
    excess = float(np.square(squares).sum() - squares.sum() ** 2 / len(squares))
    most = float(len(squares) - 1)
    return most if excess <= 0 else min(most, max(1.0, 2 * float(squares.sum()) ** 2 / excess - 1))
