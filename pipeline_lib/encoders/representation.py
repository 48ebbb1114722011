"""What images are to an encoder, or to none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.inference import finite_features
from pipeline_lib.stats.components import batches, components, pixel_components, pixels
from pipeline_lib.stats.neighbours import normalise

BATCH = 256


@dataclass(frozen=True)
class Representation:
    """The features that an encoder gives, or the pixels where it is None.

    ``classifier`` is the one that the encoder was trained with: weights ``[K, D]`` and biases ``[K]``.
    """

    encoder: Encoder | None = None
    classifier: tuple[Tensor, Tensor] | None = None

    def of(self, images: Images, rows: np.ndarray, device: torch.device, label: str) -> np.ndarray:
        """Return the features of ``rows``, float64 ``[N, D]``; pixels are averaged down to 32 px a side at most.

        Raises UserError where they are not finite.
        """
        if self.encoder is None:
            return np.concatenate([pixels(part) for part in batches(images, rows)]).astype(np.float64)
        return finite_features(self.encoder, Rows(images, rows), device, BATCH, label).astype(np.float64)

    def components(
        self, sets: Sequence[tuple[Images, np.ndarray]], seed: int, device: torch.device, label: str
    ) -> list[np.ndarray]:
        """Return the 50 leading principal components of each of the sets together, float32 ``[N, 50 at most]``.

        ``sets`` are images and the rows of them that are taken. It is the pixels, of which a batch at a time is in
        memory, or the features of the encoder, scaled to length 1.
        """
        if self.encoder is None:
            images, rows = zip(*sets, strict=True)
            return pixel_components(images, seed, rows=rows)
        found = (finite_features(self.encoder, Rows(images, rows), device, BATCH, label) for images, rows in sets)
        return components([normalise(features_ND) for features_ND in found], seed)

    def probabilities(self, features_ND: np.ndarray) -> np.ndarray | None:
        """Return what the classifier makes of features, float64 ``[N, K]``; None without one."""
        if self.classifier is None:
            return None
        weights_KD, biases_K = (part.numpy().astype(np.float64) for part in self.classifier)
        probabilities: np.ndarray = softmax(features_ND @ weights_KD.T + biases_K, axis=1)
        return probabilities
