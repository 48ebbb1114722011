"""Whether an image is like those that a model was trained on: its distance to their mean in the model's features.

The Mahalanobis distance without classes, along the principal directions of the features' signed square roots, which
keeps a few large features from hiding what is odd about the many small ones. What is further off than nearly all
held-out images is unfamiliar. benchmarks/README.md compares this with other rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.inference import features

FAMILIARITY = "familiarity.safetensors"
# Images of each domain that are drawn at most, so that a small one counts as much as a large one.
MOST_IMAGES = 2000
# Fewer held-out images than this say nothing about the oddest of them.
LEAST_HELD_OUT = 20
# The share of held-out images of a domain that are further off than the threshold, at most.
FALSE_ALARMS = 0.05
# Of the variance; directions beyond it are noise, which would be blown up.
EXPLAINED = 0.999


@dataclass(frozen=True)
class Familiarity:
    """The mean ``[D]`` of what is known and its scaled directions ``[D, K]``, float32, and what is too far off."""

    mean: Tensor
    directions: Tensor
    threshold: float

    def distances(self, features_BD: Tensor) -> Tensor:
        """Return how far images are from what is known, in standard deviations, float32 ``[B]``."""
        device = features_BD.device
        centred_BD = _evened(features_BD.float()) - self.mean.to(device)
        return (centred_BD @ self.directions.to(device)).norm(dim=1)

    def save(self, folder: Path) -> None:
        """Write it beside the model in ``folder``."""
        tensors = {
            "mean": self.mean,
            "directions": self.directions,
            "threshold": torch.tensor(self.threshold, dtype=torch.float64),
        }
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / FAMILIARITY)


def load_familiarity(folder: Path) -> Familiarity | None:
    """Read what :meth:`Familiarity.save` wrote, or None where nothing is."""
    if not (folder / FAMILIARITY).is_file():
        return None
    found = load_file(folder / FAMILIARITY)
    return Familiarity(found["mean"], found["directions"], float(found["threshold"]))


def familiarity(
    encoder: Encoder,
    known: Sequence[Rows],
    held_out: Sequence[Rows],
    device: torch.device,
    batch_size: int,
    seed: int,
) -> Familiarity | None:
    """Return what the images of each domain look like to an encoder that was trained on ``known``, and the threshold.

    The threshold is what FALSE_ALARMS of the held-out images of a domain exceed, in that domain where it is largest.
    Returns None where there are no known images, or no domain has LEAST_HELD_OUT that are held out.
    """
    domains = [rows for rows in held_out if len(rows) >= LEAST_HELD_OUT]
    if not sum(map(len, known)) or not domains:
        return None
    rng = np.random.default_rng(derive_seed(seed, "familiarity"))

    def found(rows: Rows) -> Tensor:
        drawn = Rows(rows.images, np.sort(rng.permutation(rows.rows)[:MOST_IMAGES]))
        return torch.from_numpy(features(encoder, drawn, device, batch_size, "familiarity"))

    mean_D, directions_DK = _directions(torch.cat([found(rows) for rows in known]))
    all_known = Familiarity(mean_D, directions_DK, 0.0)
    distances = [all_known.distances(found(rows)).double() for rows in domains]
    threshold = max(float(torch.quantile(distance, 1 - FALSE_ALARMS)) for distance in distances)
    return Familiarity(mean_D, directions_DK, threshold)


def _directions(features_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the principal directions, each divided by the standard deviation along it."""
    evened_MD = _evened(features_MD.double())
    mean_D = evened_MD.mean(dim=0)
    values_K, vectors_KD = torch.linalg.svd(evened_MD - mean_D, full_matrices=False)[1:]
    variance_K = values_K**2 / len(features_MD)
    total = variance_K.cumsum(0)
    kept = int((total < EXPLAINED * total[-1]).sum()) + 1
    directions_DK = vectors_KD[:kept].T / variance_K[:kept].sqrt().clamp(min=torch.finfo(torch.float32).tiny)
    return mean_D.float(), directions_DK.float()


def _evened(x: Tensor) -> Tensor:
    return x.sign() * x.abs().sqrt()
