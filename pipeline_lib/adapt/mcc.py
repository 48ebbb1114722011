"""MCC: minimum class confusion (Jin 2020, https://arxiv.org/abs/1912.03699)."""

from typing import Annotated

import torch
from torch import Tensor

from pipeline_lib.adapt.adapter import entropy
from pipeline_lib.adapt.aligning import Aligning
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


class MCC(Aligning):
    """Pull apart the classes that the target's predictions confuse; ``temperature`` softens the predictions."""

    name = "mcc"
    part = "confusion"

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        temperature: Annotated[float, Range(gt=0)] = 2.5,
        weight: Annotated[float, Range(ge=0)] = 1.0,
    ) -> None:
        super().__init__(model, label, source, num_images, weight=weight)
        self.temperature = temperature

    def distance(self, source_BD: Tensor, target_BD: Tensor) -> Tensor:
        """Return the class confusion of the target's predictions."""
        return class_confusion(self.probabilities(self.answers(target_BD) / self.temperature))


def class_confusion(probabilities_BC: Tensor) -> Tensor:
    """Return the class confusion of the probabilities: between 0 and 1, 0 when no class shares an image.

    Images of certain predictions weigh more; no gradient flows through their weights, as in the authors' code.
    """
    certainty_B = 1 + torch.exp(-entropy(probabilities_BC.detach()))
    weights_B = certainty_B / certainty_B.sum() * len(probabilities_BC)
    correlation_CC = (probabilities_BC * weights_B[:, None]).T @ probabilities_BC
    # A class whose probabilities have all underflowed is confused with none.
    row_sums = correlation_CC.sum(dim=1, keepdim=True).clamp(min=torch.finfo(correlation_CC.dtype).tiny)
    confusion_CC = correlation_CC / row_sums
    return (confusion_CC.sum() - confusion_CC.trace()) / probabilities_BC.shape[1]
