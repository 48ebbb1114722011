"""Self-training: predictions that are sure enough become labels (Lee 2013, "Pseudo-Label")."""

from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.adapt.aligning import Aligning
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


class SelfTraining(Aligning):
    """Train on the source's labels, and on the target's predictions of at least a probability of ``confidence``."""

    name = "self_training"
    part = "pseudo_loss"

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        confidence: Annotated[float, Range(gt=0, le=1)] = 0.95,
        weight: Annotated[float, Range(ge=0)] = 1.0,
    ) -> None:
        super().__init__(model, label, source, num_images, weight=weight)
        self.confidence = confidence

    def distance(self, source_BD: Tensor, target_BD: Tensor) -> Tensor:
        """Return the cross-entropy of the sure predictions, the mean over all images."""
        probabilities_BC = self.probabilities(self.answers(target_BD))
        surest, classes = probabilities_BC.detach().max(dim=1)
        losses_B = F.nll_loss(probabilities_BC.clamp(min=1e-12).log(), classes, reduction="none")
        return (losses_B * (surest >= self.confidence)).mean()
