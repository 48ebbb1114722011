"""DANN: features from which the domain cannot be told (Ganin 2015, https://arxiv.org/abs/1505.07818)."""

from typing import Annotated

from torch import Tensor

from pipeline_lib.adapt.adversary import Adversarial, discriminator, domain_loss
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


class DANN(Adversarial):
    """Train the features against a discriminator of the domains, whose strength grows from 0 to ``weight``."""

    name = "dann"

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
        self.discriminator = discriminator(model.encoder.num_features)

    def distance(self, source_BD: Tensor, target_BD: Tensor) -> Tensor:
        """Return the loss of the discriminator."""
        return domain_loss(self.discriminator, source_BD, target_BD, self.strength)
