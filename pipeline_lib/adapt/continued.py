"""Pretraining that goes on, on the target's images (Sun 2019, https://arxiv.org/abs/1909.11825)."""

from dataclasses import replace
from typing import Annotated

from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor

from pipeline_lib.adapt.aligning import Joint
from pipeline_lib.core.registry import Positive, Range, Share
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches
from pipeline_lib.views import View, augment

HIDDEN, PROJECTED = 256, 128
LIGHT = View(jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


class Continued(Joint):
    """Train on the source's labels and let two views of each target image attract each other, as SimCLR does.

    The authors take rotations and other tasks for the second part. Views keep at least ``min_scale`` of the image's
    area, are mirrored with the probability ``flip`` and differ in brightness and contrast, and in colour where there is
    any; ``weight`` is that of their loss, ``temperature`` its own.
    """

    name = "continued"
    part = "contrast_loss"

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        temperature: Positive = 0.2,
        min_scale: Annotated[float, Range(gt=0, le=1)] = 0.5,
        flip: Share = 0.0,
        weight: Annotated[float, Range(ge=0)] = 0.5,
    ) -> None:
        super().__init__(model, label, source, num_images, weight=weight)
        view = replace(LIGHT, min_scale=min_scale, flip=flip)
        self.views = augment(model.encoder)(view, view)
        self.projection = SimCLRProjectionHead(model.encoder.num_features, HIDDEN, PROJECTED)
        self.criterion = NTXentLoss(temperature=temperature)

    def of_target(self, images_BCHW: Tensor, source_BD: Tensor) -> Tensor:
        """Return the loss of two views of each image."""
        first, second = (self.projection(self.model.encoder(view)) for view in self.views(images_BCHW))
        found: Tensor = self.criterion(first, second)
        return found
