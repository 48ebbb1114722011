"""CDAN+E: an adversary that sees the classes too (Long 2018, https://arxiv.org/abs/1705.10667)."""

from typing import Annotated

import torch
from torch import Tensor

from pipeline_lib.adapt.adapter import entropy
from pipeline_lib.adapt.adversary import Adversarial, discriminator, domain_loss
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches

# Above so many products of features and classes the authors take as many random ones.
MOST_PRODUCTS = 4096


class CDAN(Adversarial):
    """As DANN, with a discriminator of the products of features and probabilities of classes.

    Images of certain predictions weigh more. Through the probabilities no gradient flows, as in the authors' code.
    """

    name = "cdan"
    of_features: Tensor
    of_classes: Tensor

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        weight: Annotated[float, Range(ge=0)] = 1.0,
    ) -> None:
        super().__init__(model, label, source, num_images, weight=weight)
        features, classes = model.encoder.num_features, len(model.specs[label or ""]["classes"])
        self.random = features * classes > MOST_PRODUCTS
        if self.random:
            self.register_buffer("of_features", torch.randn(features, MOST_PRODUCTS))
            self.register_buffer("of_classes", torch.randn(classes, MOST_PRODUCTS))
        self.discriminator = discriminator(MOST_PRODUCTS if self.random else features * classes)

    def distance(self, source_BD: Tensor, target_BD: Tensor) -> Tensor:
        """Return the loss of the discriminator."""
        both = torch.cat([source_BD, target_BD])
        probabilities = self.probabilities(self.answers(both)).detach()
        joint = self._joint(both, probabilities)
        # Each domain's weights have a mean of 1, so that neither counts for more than the other.
        parts = torch.tensor_split(1 + torch.exp(-entropy(probabilities)), [len(source_BD)])
        weights = torch.cat([part / part.mean() for part in parts])
        return domain_loss(self.discriminator, joint[: len(source_BD)], joint[len(source_BD) :], self.strength, weights)

    def _joint(self, features_BD: Tensor, probabilities_BC: Tensor) -> Tensor:
        if self.random:
            return (features_BD @ self.of_features) * (probabilities_BC @ self.of_classes) / MOST_PRODUCTS**0.5
        return (features_BD[:, :, None] * probabilities_BC[:, None]).flatten(1)
