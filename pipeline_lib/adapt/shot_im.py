"""SHOT-IM: information maximisation under the source's hypothesis (Liang 2020, https://arxiv.org/abs/2002.08546)."""

from collections.abc import Callable, Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from pipeline_lib.heads.model import MultiTask


def shot_im(
    model: MultiTask,
    target_NCHW: Tensor,
    source: Mapping[str, Tensor],
    primary: str,
    train: Callable[[nn.Module, Mapping[str, Tensor]], pd.DataFrame],
    *,
    diversity: float = 1.0,
) -> pd.DataFrame:
    """Train the encoder, with the heads fixed, to be sure of each target image and varied over all of them.

    The source's images are not used. ``diversity`` weighs the second part of the loss.
    """
    return train(_InformationMaximisation(model, primary, diversity), {"images_BCHW": target_NCHW})


class _InformationMaximisation(nn.Module):
    def __init__(self, model: MultiTask, primary: str, diversity: float) -> None:
        super().__init__()
        self.model, self.primary, self.diversity = model, primary, diversity
        model.requires_grad_(False)
        model.encoder.requires_grad_(True)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss, the mean entropy of the predictions and the entropy of their mean, in nats."""
        outputs = self.model(self.model.encoder.normalise(images_BCHW))[self.primary]
        probabilities = outputs.softmax(dim=1)
        certainty = entropy(probabilities).mean()
        variety = entropy(probabilities.mean(dim=0))
        return {"loss": certainty - self.diversity * variety, "entropy": certainty, "marginal_entropy": variety}


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy along the last axis, in nats."""
    return -(probabilities * probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()).sum(dim=-1)
