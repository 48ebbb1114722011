"""Adapters that go on learning the source's labels while something brings the target nearer."""

from abc import abstractmethod
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from pipeline_lib.adapt.adapter import Adapter
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.learner import label_losses
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


class Joint(Adapter):
    """Train everything on the labels of the source, plus ``weight`` times a loss of the target's images.

    All labels that the source gives are learnt on, so that no head is left behind by the encoder that changes. A step
    draws as many images of the source as it has of the target, with replacement.
    """

    needs_source = True
    # What the curve calls the second loss.
    part: ClassVar[str]

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        weight: Annotated[float, Range(ge=0)] = 1.0,
    ) -> None:
        super().__init__(model, label, source, num_images)
        self.weight = weight
        model.requires_grad_(True)

    def forward(self, images_BCHW: Tensor, places_B: Tensor) -> dict[str, Tensor]:
        """Return the loss, and its two parts: the labels' on the source, and that of the target's images."""
        assert self.source is not None
        source = self.source.take(torch.randint(self.source.num_rows, (len(images_BCHW),)))
        # Two passes, so that each domain is normalised by its own batch statistics.
        source_BD = self.features(source.pop("images_BCHW"))
        other = self.of_target(images_BCHW, source_BD)
        supervised = torch.stack(list(label_losses(self.model, source_BD, source).values())).mean()
        return {"loss": supervised + self.weight * other, "source_loss": supervised, self.part: other}

    @abstractmethod
    def of_target(self, images_BCHW: Tensor, source_BD: Tensor) -> Tensor:
        """Return the loss of the target's images (uint8), beside features of as many of the source."""


class Aligning(Joint):
    """The loss of the target's images is a distance of the domains."""

    part = "distance"

    def of_target(self, images_BCHW: Tensor, source_BD: Tensor) -> Tensor:
        """Return the distance of the features of both."""
        return self.distance(source_BD, self.features(images_BCHW))

    @abstractmethod
    def distance(self, source_BD: Tensor, target_BD: Tensor) -> Tensor:
        """Return the distance of the features, ``[B, D]`` each."""
