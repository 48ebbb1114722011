"""Images that are hard to see: dark, bright, blurred, all but empty, or grey among coloured ones.

A check finds what is so by itself and unlike the rest of its set: digits on black are dark, and none of them is found.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Images
from pipeline_lib.stats.components import batches

# Of larger sets as many are looked at, at random.
MOST_IMAGES = 20_000
# Numbers that are held at once, of the images that are measured together.
MOST_PIXELS = 2**22
# How many times as far below the median, by factors, as the sixteenth percentile (one deviation of a log-normal one).
FAR = 4.0
LEAST = 1e-3  # of a value, so that factors are finite
LEVELS = 32  # of grey, whose entropy is the information of an image
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Check:
    """What a check measures of images, float32 ``[B, H, W, C]`` in 0-1: a number each, bad below ``bound``."""

    measure: Callable[[np.ndarray], np.ndarray]
    bound: float


def _light(images: np.ndarray) -> np.ndarray:
    return images @ LUMA if images.shape[3] == 3 else images[..., 0]


def _brightest(images: np.ndarray) -> np.ndarray:
    return np.percentile(_light(images), 99, axis=(1, 2))


def _room_above(images: np.ndarray) -> np.ndarray:
    return 1 - np.percentile(_light(images), 5, axis=(1, 2))


def _sharpness(images: np.ndarray) -> np.ndarray:
    """Return the deviation of the Laplacian by that of the light, in which contrast does not count."""
    light = _light(images)
    inner = light[:, 1:-1, 1:-1]
    around = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:]
    return (around - 4 * inner).std(axis=(1, 2)) / light.std(axis=(1, 2)).clip(1e-3)


def _information(images: np.ndarray) -> np.ndarray:
    """Return the entropy of the levels of light, in bits."""
    levels = (_light(images) * LEVELS).astype(np.int64).clip(0, LEVELS - 1).reshape(len(images), -1)
    levels += np.arange(len(images))[:, None] * LEVELS
    shares = np.bincount(levels.ravel(), minlength=len(images) * LEVELS).reshape(len(images), LEVELS) / levels.shape[1]
    return -(shares * np.log2(shares, out=np.zeros_like(shares), where=shares > 0)).sum(axis=1)


def _colour(images: np.ndarray) -> np.ndarray:
    """Return how far apart the channels of the most coloured pixels are; 1 for images of one channel."""
    if images.shape[3] == 1:
        return np.ones(len(images))
    return np.percentile(np.ptp(images, axis=3), 99, axis=(1, 2))


CHECKS: Mapping[str, Check] = {
    "dark": Check(_brightest, 0.3),
    "bright": Check(_room_above, 0.1),
    "blurred": Check(_sharpness, 0.2),
    "empty": Check(_information, 0.6),
    "grey": Check(_colour, 0.03),
}


def poor(images: Images | np.ndarray, seed: int) -> tuple[int, dict[str, np.ndarray]]:
    """Return how many images (uint8 ``[N, H, W, C]``) were looked at, and by check the rows that it finds, worst first.

    Images of a single colour are no part of it; they are counted by themselves.
    """
    rows = np.arange(len(images))
    if len(images) > MOST_IMAGES:
        rng = np.random.default_rng(derive_seed(seed, "quality"))
        rows = np.sort(rng.choice(rows, MOST_IMAGES, replace=False))
    step = max(1, MOST_PIXELS // int(np.prod(images.shape[1:])))
    measured: dict[str, list[np.ndarray]] = {name: [] for name in CHECKS}
    varied = []
    for batch in batches(images, rows):
        varied.append(np.ptp(batch.reshape(len(batch), -1), axis=1) > 0)
        for start in range(0, len(batch), step):
            part = batch[start : start + step].astype(np.float32) / 255
            for name, check in CHECKS.items():
                measured[name].append(check.measure(part))
    kept = np.concatenate(varied) if varied else np.zeros(0, bool)
    found = {}
    for name, check in CHECKS.items():
        values = np.concatenate([*measured[name], np.zeros(0)])[kept].clip(LEAST)
        worst = np.argsort(values, kind="stable")
        found[name] = rows[kept][worst[: int((values < _limit(values, check.bound)).sum())]]
    return len(rows), found


def _limit(values: np.ndarray, bound: float) -> float:
    """Return below which value one counts: below the bound, and by factors far below the others."""
    if not len(values):
        return bound
    median, low = np.percentile(values, [50, 16])
    return float(min(bound, median * (low / median) ** FAR))
