"""MCC: minimum class confusion (Jin 2020, https://arxiv.org/abs/1912.03699)."""

from collections.abc import Callable, Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from pipeline_lib.adapt.shot_im import entropy
from pipeline_lib.heads.model import MultiTask, label_loss


def mcc(
    model: MultiTask,
    target_NCHW: Tensor,
    source: Mapping[str, Tensor],
    primary: str,
    train: Callable[[nn.Module, Mapping[str, Tensor]], pd.DataFrame],
    *,
    temperature: float = 2.5,
    weight: float = 1.0,
) -> pd.DataFrame:
    """Train on the source's labels while classes that the target's predictions confuse are pulled apart.

    ``temperature`` softens the predictions, ``weight`` is that of the confusion in the loss.
    """
    return train(_ClassConfusion(model, source, primary, temperature, weight), {"images_BCHW": target_NCHW})


class _ClassConfusion(nn.Module):
    def __init__(
        self, model: MultiTask, source: Mapping[str, Tensor], primary: str, temperature: float, weight: float
    ) -> None:
        super().__init__()
        self.model, self.primary, self.temperature, self.weight = model, primary, temperature, weight
        self.source = source
        model.requires_grad_(True)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss, and its two parts: cross entropy on the source, class confusion on the target."""
        labels = self.source[self.primary]
        rows = torch.randint(len(labels), (len(images_BCHW),), device=labels.device)
        encoder = self.model.encoder
        # Each domain is normalised by its own batch statistics.
        source_outputs = self.model(encoder.normalise(self.source["images_BCHW"][rows]))[self.primary]
        target_outputs = self.model(encoder.normalise(images_BCHW))[self.primary]
        supervised = label_loss(source_outputs, labels[rows])
        confusion = class_confusion(target_outputs, self.temperature)
        return {"loss": supervised + self.weight * confusion, "source_loss": supervised, "confusion": confusion}


def class_confusion(outputs: Tensor, temperature: float) -> Tensor:
    """Return the class confusion of the outputs ``[B, K]``: between 0 and 1, 0 when no class shares an image."""
    probabilities = (outputs / temperature).softmax(dim=1)
    certainty = 1 + torch.exp(-entropy(probabilities))
    weights = (certainty / certainty.sum() * len(outputs)).detach()
    correlation = (probabilities * weights[:, None]).T @ probabilities
    correlation = correlation / correlation.sum(dim=1, keepdim=True)
    num_classes = outputs.shape[1]
    return (correlation.sum() - correlation.trace()) / num_classes
