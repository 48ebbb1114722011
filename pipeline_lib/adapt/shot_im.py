"""SHOT-IM: information maximisation under the source's hypothesis (Liang 2020, https://arxiv.org/abs/2002.08546)."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline_lib.adapt.adapter import Adapter, entropy
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.stats.label_shift import prior_of
from pipeline_lib.training import Batches

Prior = Literal["uniform", "source"]


class ShotIM(Adapter):
    """Train the encoder, with the heads fixed, to be sure of each target image and varied over all of them.

    The source's images are not used. ``diversity`` weighs the second part of the loss, by which the classes are held to
    be equally frequent in the target, as the authors do, or with the ``prior`` "source" as frequent as in the source.
    """

    name = "shot_im"
    class_prior: Tensor

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        diversity: Annotated[float, Range(ge=0)] = 1.0,
        prior: Prior = "uniform",
    ) -> None:
        super().__init__(model, label, source, num_images)
        self.diversity = diversity
        self.register_buffer("class_prior", self._prior(prior))
        model.requires_grad_(False)
        model.encoder.requires_grad_(True)

    def forward(self, images_BCHW: Tensor, places_B: Tensor) -> dict[str, Tensor]:
        """Return the loss, the mean entropy of the predictions and how near their mean is to the prior, in nats.

        The last is the entropy of the mean for a uniform prior, and else less, by how surprising the mean is.
        """
        return self.information(self.probabilities(self.answers(self.features(images_BCHW))))

    def information(self, probabilities_BC: Tensor) -> dict[str, Tensor]:
        """Return the loss of information maximisation, and its parts."""
        certainty = entropy(probabilities_BC).mean()
        mean_C = probabilities_BC.mean(dim=0)
        variety = entropy(mean_C) + (mean_C * (self.class_prior * len(mean_C)).log()).sum()
        return {"loss": certainty - self.diversity * variety, "entropy": certainty, "marginal_entropy": variety}

    def _prior(self, prior: str) -> Tensor:
        names = list(self.model.specs)
        classes = len(self.model.specs[self.label or ""]["classes"])
        if prior == "uniform":
            return torch.full((classes,), 1 / classes)
        if self.source is None:
            raise UserError(f"{self.name} needs labels of the source for the prior 'source': take 'uniform'")
        encoded: Tensor = self.source.columns[f"label_{names.index(self.label or '')}"]  # type: ignore[assignment]
        return torch.from_numpy(prior_of(encoded.cpu().numpy(), classes)).float()
