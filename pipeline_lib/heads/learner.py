"""Training heads on the labels that each image has."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import Spec


def label_columns(specs: Mapping[str, Spec], values: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the columns of labels that HeadsLearner takes, from the stored values of every label (``[N]`` each)."""
    return {
        f"label_{index}": KINDS[spec["kind"]].encode(values[name], spec)
        for index, (name, spec) in enumerate(specs.items())
    }


class HeadsLearner(nn.Module):
    """Trains a MultiTask model, which has a label at least; the loss is the mean over the labels.

    ``views`` maps uint8 images to one normalised view of them. A ``frozen`` encoder stays as it is, its batch
    statistics too.
    """

    def __init__(self, model: MultiTask, views: Callable[[Tensor], list[Tensor]], frozen: bool) -> None:
        super().__init__()
        if not model.specs:
            raise ValueError("a model without labels has nothing to learn from labels")
        self.model, self.views, self.frozen = model, views, frozen
        model.encoder.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> "HeadsLearner":
        """Set the mode; a frozen encoder stays in evaluation, so that its batch statistics stay too."""
        super().train(mode)
        if self.frozen:
            self.model.encoder.eval()
        return self

    def forward(self, images_BCHW: Tensor, **labels: Tensor) -> dict[str, Tensor]:
        """Return the mean loss, and that of every label: 0 for one that no image of the batch has.

        ``labels`` are ``label_0``, ``label_1``, ... in the order of the model's labels, as :func:`label_columns` makes
        them.
        """
        (view,) = self.views(images_BCHW)
        return label_losses(self.model, self.model.encoder(view), labels)


def label_losses(model: MultiTask, features_BD: Tensor, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean loss over the labels of a model, and that of every label, given the features of a batch."""
    losses = {
        f"loss_{name}": KINDS[spec["kind"]].loss(head(features_BD), labels[f"label_{index}"])
        for index, ((name, spec), head) in enumerate(zip(model.specs.items(), model.heads, strict=True))
    }
    return {"loss": torch.stack(list(losses.values())).mean(), **losses}
