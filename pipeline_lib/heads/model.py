"""The multi-task model: a shared encoder and a linear head for each label."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.core.files import read_json
from pipeline_lib.encoders.encoder import Encoder, from_config, load_weights
from pipeline_lib.heads.labels import MISSING


class MultiTask(nn.Module):
    """An encoder with one linear head per label.

    ``specs`` describes the labels as :func:`~pipeline_lib.heads.labels.label_specs` does. A class label's head has
    one output per class, a regression label's head has one.
    """

    def __init__(self, encoder: Encoder, specs: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__()
        self.encoder, self.specs = encoder, dict(specs)
        self.heads = nn.ModuleDict(
            {_key(name): nn.Linear(encoder.num_features, len(spec.get("classes", "1"))) for name, spec in specs.items()}
        )

    def head(self, name: str) -> nn.Module:
        """Return the head of the label ``name``."""
        return self.heads[_key(name)]

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """Map normalised images to the outputs of every head, ``[B, K]`` each."""
        features = self.encoder(x_BCHW)
        return {name: self.head(name)(features) for name in self.specs}

    def config(self) -> dict[str, Any]:
        """Return what rebuilds this model."""
        return {**self.encoder.config(), "labels": self.specs}


class HeadsLearner(nn.Module):
    """Trains a MultiTask model on the labels that each image has; the loss is the mean over the labels."""

    def __init__(self, model: MultiTask, views: Callable[[Tensor], list[Tensor]], frozen: bool) -> None:
        super().__init__()
        self.model, self.views, self.frozen = model, views, frozen
        model.encoder.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> "HeadsLearner":
        """Set the mode; a frozen encoder stays in evaluation, so that its batch statistics stay too."""
        super().train(mode)
        if self.frozen:
            self.model.encoder.eval()
        return self

    def forward(self, images_BCHW: Tensor, **labels: Tensor) -> dict[str, Tensor]:
        """Return the loss of every label and their mean."""
        (view,) = self.views(images_BCHW)
        outputs = self.model(view)
        losses = {name: label_loss(outputs[name], labels[name]) for name in outputs}
        return {"loss": torch.stack(list(losses.values())).mean(), **{f"loss_{k}": v for k, v in losses.items()}}


def label_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss over the rows that have the label, 0 where none has it.

    Cross entropy for class numbers (int64, MISSING left out), squared error for numbers (float, NaN left out).
    """
    if labels.is_floating_point():
        known = ~labels.isnan()
        error = (outputs.squeeze(1) - labels.nan_to_num()) ** 2
        return (error * known).sum() / known.sum().clamp(min=1)
    total = F.cross_entropy(outputs, labels, ignore_index=MISSING, reduction="sum")
    return total / (labels != MISSING).sum().clamp(min=1)


@torch.no_grad()
def predict(model: MultiTask, images_NCHW: Tensor, batch_size: int = 512) -> dict[str, Tensor]:
    """Return the outputs of every head for uint8 images, ``[N, K]`` on the CPU."""
    model.eval()
    parts = [model(model.encoder.normalise(batch)) for batch in torch.split(images_NCHW, batch_size)]
    return {name: torch.cat([part[name] for part in parts]).float().cpu() for name in model.specs}


def load_multi_task(folder: Path) -> MultiTask:
    """Read a model that was saved with its ``config()``."""
    config = read_json(folder / "config.json")
    model = MultiTask(from_config(config), config["labels"])
    load_weights(model, folder)
    return model


def _key(name: str) -> str:
    """Return a name that torch accepts for a submodule: it forbids dots."""
    return "label_" + name.replace(".", "_dot_")
