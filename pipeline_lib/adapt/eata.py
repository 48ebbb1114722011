"""EATA: TENT on images that are worth it, held near what the source needs (Niu 2022, https://arxiv.org/abs/2204.02610)."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from pipeline_lib.adapt.adapter import entropy
from pipeline_lib.adapt.tent import TENT
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches

# What the authors estimate the Fisher information on, and how slowly the mean prediction follows.
MOST_IMAGES, KEPT = 2000, 0.9


class EATA(TENT):
    """As TENT, on predictions that are sure and unlike those before, the surer the more, and without forgetting much.

    An image counts if its entropy is below the share ``margin`` of the greatest and the cosine of its prediction with
    the mean one is below ``likeness`` times that of a sure prediction with an even one, 1 / sqrt(C): the authors' 0.4
    for 10 classes and 0.05 for 1,000 are 1.3 and 1.6 times that. ``fisher`` weighs the squared moves of the parameters,
    each times its Fisher information on images of the source, with the model's own predictions as labels.
    """

    name = "eata"
    needs_source = True
    mean_prediction: Tensor
    information: Tensor
    origin: Tensor

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        margin: Annotated[float, Range(gt=0, le=1)] = 0.4,
        likeness: Annotated[float, Range(gt=0)] = 1.5,
        fisher: Annotated[float, Range(ge=0)] = 1.0,
    ) -> None:
        super().__init__(model, label, source, num_images, margin=margin)
        self.fisher = fisher
        num_classes = len(model.specs[label or ""]["classes"])
        self.most_alike = likeness / num_classes**0.5
        self.register_buffer("mean_prediction", torch.zeros(num_classes))
        self.register_buffer("information", self._fisher_information())
        self.register_buffer("origin", self._moved().detach().clone())

    def forward(self, images_BCHW: Tensor, places_B: Tensor) -> dict[str, Tensor]:
        """Return the loss, its entropy (nats, weighted) and penalty, and the share of images that count."""
        probabilities_BC = self.probabilities(self.answers(self.features(images_BCHW)))
        unsure_B = entropy(probabilities_BC)
        limit = self.margin * unsure_B.new_tensor(probabilities_BC.shape[1]).log()
        given_BC = probabilities_BC.detach()
        alike_B = F.cosine_similarity(given_BC, self.mean_prediction[None])
        counts_B = ((unsure_B <= limit) & (alike_B < self.most_alike)).float().detach()
        if counts_B.any():
            mean_C = (counts_B[:, None] * given_BC).sum(dim=0) / counts_B.sum()
            self.mean_prediction.mul_(KEPT).add_((1 - KEPT) * mean_C)
        weights_B = counts_B * (limit - unsure_B).exp().detach()
        certainty = (weights_B * unsure_B).sum() / counts_B.sum().clamp(min=1)
        penalty = (self.information * (self._moved() - self.origin).square()).sum()
        return {
            "loss": certainty + self.fisher * penalty,
            "entropy": certainty,
            "penalty": penalty,
            "counts": counts_B.mean(),
        }

    def _moved(self) -> Tensor:
        """Return the parameters that are trained as one vector, ``[P]``."""
        return parameters_to_vector(self._trained())

    def _trained(self) -> list[Tensor]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def _fisher_information(self) -> Tensor:
        """Return the mean over batches of the squared gradient of their loss, ``[P]``, as the authors compute it."""
        assert self.source is not None
        rows = torch.randperm(self.source.num_rows, generator=torch.Generator().manual_seed(0))[:MOST_IMAGES]
        parts = torch.tensor_split(rows, -(-len(rows) // self.source.batch_size))
        self.model.to(self.source.device).train()
        total = torch.zeros_like(self._moved())
        for part in parts:
            outputs_BK = self.answers(self.features(self.source.take(part)["images_BCHW"]))
            log_BC = self.probabilities(outputs_BK).clamp(min=1e-12).log()
            found = torch.autograd.grad(F.nll_loss(log_BC, log_BC.argmax(dim=1)), self._trained())
            total += parameters_to_vector(found).square()
        return total / len(parts)
