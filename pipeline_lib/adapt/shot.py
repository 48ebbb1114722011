"""SHOT: information maximisation with pseudo-labels (Liang 2020, https://arxiv.org/abs/2002.08546)."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.adapt.shot_im import Prior, ShotIM
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


class Shot(ShotIM):
    """As SHOT-IM, and on labels given to the target's images by the nearest centre of a class, once an epoch.

    The centres are those of the features of the epoch before, first weighted by the predictions and then of the
    images that were nearest; in the first epoch there are none. The authors pass over all images once more for them,
    here they are kept as they come. ``weight`` is that of the pseudo-labels in the loss.
    """

    name = "shot"
    kept_features: Tensor
    kept_probabilities: Tensor
    pseudo_labels: Tensor
    seen: Tensor

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        diversity: Annotated[float, Range(ge=0)] = 1.0,
        prior: Prior = "uniform",
        weight: Annotated[float, Range(ge=0)] = 0.3,
    ) -> None:
        super().__init__(model, label, source, num_images, diversity=diversity, prior=prior)
        self.weight = weight
        classes = len(model.specs[label or ""]["classes"])
        self.register_buffer("kept_features", torch.zeros(num_images, model.encoder.num_features))
        self.register_buffer("kept_probabilities", torch.zeros(num_images, classes))
        self.register_buffer("pseudo_labels", torch.full((num_images,), -1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, images_BCHW: Tensor, places_B: Tensor) -> dict[str, Tensor]:
        """Return the loss and its parts: those of SHOT-IM, and the cross-entropy of the pseudo-labels."""
        if self.seen >= self.num_images:  # a new epoch begins
            self.pseudo_labels.copy_(nearest_centre(self.kept_features, self.kept_probabilities))
            self.seen.zero_()
        features_BD = self.features(images_BCHW)
        probabilities_BC = self.probabilities(self.answers(features_BD))
        self.kept_features[places_B] = features_BD.detach()
        self.kept_probabilities[places_B] = probabilities_BC.detach()
        self.seen += len(places_B)
        found = self.information(probabilities_BC)
        given_B = self.pseudo_labels[places_B]
        losses_B = F.nll_loss(probabilities_BC.clamp(min=1e-12).log(), given_B, ignore_index=-1, reduction="none")
        pseudo = losses_B.mean()
        return {**found, "loss": found["loss"] + self.weight * pseudo, "pseudo_loss": pseudo}


def nearest_centre(features_ND: Tensor, probabilities_NC: Tensor, rounds: int = 2) -> Tensor:
    """Return the class whose centre is nearest to each image by the cosine, int64 ``[N]``.

    The centres are means of the features, with a constant 1 behind them and of length 1, weighted by the
    probabilities at first and by the labels so found after each of the ``rounds``. A class that no image has is not
    given in later rounds.
    """
    points_ND = F.normalize(torch.cat([features_ND, torch.ones_like(features_ND[:, :1])], dim=1))
    weights_NC = probabilities_NC
    labels_N = weights_NC.argmax(dim=1)
    for _ in range(rounds):
        centres_CD = F.normalize(weights_NC.T @ points_ND / (weights_NC.sum(dim=0)[:, None] + 1e-8))
        similarity_NC = points_ND @ centres_CD.T
        labels_N = similarity_NC.masked_fill(weights_NC.sum(dim=0) == 0, -2).argmax(dim=1)
        weights_NC = F.one_hot(labels_N, probabilities_NC.shape[1]).to(points_ND)
    return labels_N
