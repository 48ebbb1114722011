"""JUMBOT: labels carried along an unbalanced optimal transport (Fatras 2021, https://arxiv.org/abs/2103.03606)."""

from typing import Annotated

import torch
from torch import Tensor

from pipeline_lib.adapt.aligning import Aligning
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


class JUMBOT(Aligning):
    """Pair the images of two batches at the least cost, and bring each pair together, in features and in classes.

    The cost of a pair is ``features`` times their squared distance (a mean over the features) plus ``classes`` times
    the cross-entropy of the target's prediction under the source's. The transport is unbalanced, since two batches
    seldom have the same share of each class, and that of DeepJDOT (Damodaran 2018) then pairs across classes:
    ``mass`` is the price of weight that is left behind, ``blur`` that of entropy. No gradient flows through the plan.
    """

    name = "jumbot"
    part = "transport"

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        weight: Annotated[float, Range(ge=0)] = 1.0,
        features: Annotated[float, Range(ge=0)] = 0.1,
        classes: Annotated[float, Range(ge=0)] = 0.1,
        mass: Annotated[float, Range(gt=0)] = 1.0,
        blur: Annotated[float, Range(gt=0)] = 0.1,
    ) -> None:
        super().__init__(model, label, source, num_images, weight=weight)
        self.of_features, self.of_classes, self.mass, self.blur = features, classes, mass, blur

    def distance(self, source_BD: Tensor, target_BD: Tensor) -> Tensor:
        """Return the cost of the plan."""
        squared = (source_BD[:, None] - target_BD[None]).square().mean(dim=2)
        truth = self.probabilities(self.answers(source_BD)).detach()
        predicted = self.probabilities(self.answers(target_BD))
        entropies = -truth @ predicted.clamp(min=torch.finfo(predicted.dtype).tiny).log().T
        return transport_cost(self.of_features * squared + self.of_classes * entropies, self.mass, self.blur)


def transport_cost(cost_ST: Tensor, mass: float, blur: float) -> Tensor:
    """Return the cost of the unbalanced plan between ``S`` and ``T`` points of equal weights (Chizat 2018)."""
    # Here, so that other adapters do not wait for this import.
    import ot

    values = cost_ST.detach().double().cpu().numpy()
    plan = ot.unbalanced.sinkhorn_unbalanced([], [], values, blur, mass, method="sinkhorn_stabilized")
    return (torch.from_numpy(plan).to(cost_ST) * cost_ST).sum()
