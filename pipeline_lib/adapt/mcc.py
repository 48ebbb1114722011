"""MCC: minimum class confusion (Jin 2020, https://arxiv.org/abs/1912.03699)."""

from typing import Annotated

import torch
from torch import Tensor

from pipeline_lib.adapt.adapter import Adapter, entropy
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.training import Batches


class MCC(Adapter):
    """Train on the source's labels while classes that the target's predictions confuse are pulled apart.

    ``temperature`` softens the predictions, ``weight`` is that of the confusion in the loss. A step draws as many
    images of the source as it has of the target, with replacement.
    """

    name = "mcc"
    needs_source = True

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        *,
        temperature: Annotated[float, Range(gt=0)] = 2.5,
        weight: Annotated[float, Range(ge=0)] = 1.0,
    ) -> None:
        super().__init__(model, label, source)
        self.temperature, self.weight = temperature, weight
        model.requires_grad_(True)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss, and its two parts: the label's own on the source, class confusion on the target."""
        assert self.source is not None
        source = self.source.take(torch.randint(self.source.num_rows, (len(images_BCHW),)))
        # Two passes, so that each domain is normalised by its own batch statistics.
        supervised = KINDS[self._kind].loss(self.outputs(source["images_BCHW"]), source["labels"])
        confusion = class_confusion(self.probabilities(self.outputs(images_BCHW) / self.temperature))
        return {"loss": supervised + self.weight * confusion, "source_loss": supervised, "confusion": confusion}


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
