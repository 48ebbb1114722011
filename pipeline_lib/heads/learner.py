"""Training heads on the labels that each image has."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pipeline_lib.heads.affinity import Affinity
from pipeline_lib.heads.fitting import has_value
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.strategies import Strategy
from pipeline_lib.heads.weightings import WEIGHTINGS, Weighting
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import Spec


def label_columns(specs: Mapping[str, Spec], values: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the columns of labels that HeadsLearner takes, from the stored values of every label (``[N]`` each)."""
    return {
        f"label_{index}": KINDS[spec["kind"]].encode(values[name], spec)
        for index, (name, spec) in enumerate(specs.items())
    }


class HeadsLearner(nn.Module):
    """Trains a MultiTask model, which has a label at least, by a strategy; ``weighting`` makes one loss of the labels'.

    ``views`` maps uint8 images to one normalised view of them. ``rates`` has the share of the learning rate of each
    parameter of the encoder that is trained. What the strategy leaves as it is stays so, its batch statistics too.
    The weighting is the mean over the labels if it is not given; ``class_weights`` say by label what each class counts.
    Of several labels ``affinity`` measures who helps whom.
    """

    def __init__(
        self,
        model: MultiTask,
        views: Callable[[Tensor], list[Tensor]],
        strategy: Strategy,
        weighting: Weighting | None = None,
        class_weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        if not model.specs:
            raise ValueError("a model without labels has nothing to learn from labels")
        self.model, self.views, self.pull, self.heads_first = model, views, strategy.pull, strategy.heads_first
        self.weighting, self.class_weights = weighting or WEIGHTINGS["equal"](len(model.specs)), class_weights
        self.affinity = Affinity() if len(model.specs) > 1 else None
        self.rates: dict[nn.Parameter, float] = {}
        for block, rate in strategy.rated(model.encoder):
            self.rates |= {parameter: rate for parameter in block if rate}
            for parameter in block:
                parameter.requires_grad_(rate > 0)
        if strategy.layers:
            self.rates |= dict.fromkeys(strategy.layers.add(model.encoder), 1.0)
        for number, parameter in enumerate(self.rates if self.pull else ()):
            # Not part of checkpoints: who resumes starts from the same weights.
            self.register_buffer(f"start_{number}", parameter.detach().clone(), persistent=False)

    def train(self, mode: bool = True) -> "HeadsLearner":
        """Set the mode; parts of which nothing is trained stay in evaluation, so that their batch statistics stay.

        So does an encoder to whose features in evaluation the heads were fitted.
        """
        super().train(mode)
        if self.heads_first:
            self.model.encoder.eval()
        for part in self.model.encoder.modules():
            parameters = list(part.parameters())
            if parameters and not any(one.requires_grad for one in parameters):
                part.eval()
        return self

    def begin_step(self, progress: float) -> None:
        """Take note of which share of all steps is done."""
        if self.affinity is not None:
            self.affinity.begin_step(progress)

    def forward(self, images_BCHW: Tensor, **labels: Tensor) -> dict[str, Tensor]:
        """Return what is minimised, and the loss of every label: 0 for one that no image of the batch has.

        ``labels`` are ``label_0``, ``label_1``, ... in the order of the model's labels, as :func:`label_columns` makes
        them.
        """
        (view,) = self.views(images_BCHW)
        if self.affinity is not None and self.affinity.due:
            self.affinity.measure(self.model.encoder, self._losses, view, labels, self.rates)
        losses = self._losses(self.model.encoder(view), labels)
        known_L = torch.stack([has_value(labels[f"label_{number}"]).any() for number in range(len(losses))])
        loss = self.weighting(torch.stack(list(losses.values())), known_L, list(self.rates))
        return {"loss": loss + self._price() if self.pull else loss, **losses}

    def _losses(self, features_BD: Tensor, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return label_losses(self.model, features_BD, labels, self.class_weights)

    def _price(self) -> Tensor:
        """Return the price of how far the encoder is from where it started."""
        starts = (self.get_buffer(f"start_{number}") for number in range(len(self.rates)))
        moves = [(now - start).square().sum() for now, start in zip(self.rates, starts, strict=True)]
        return self.pull / 2 * torch.stack(moves).sum()


def label_losses(
    model: MultiTask,
    features_BD: Tensor,
    labels: Mapping[str, Tensor],
    class_weights: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the loss of every label of a model, ``loss_<name>``, given the features of a batch."""
    return {
        f"loss_{name}": KINDS[spec["kind"]].loss(
            head(features_BD), labels[f"label_{index}"], (class_weights or {}).get(name)
        )
        for index, ((name, spec), head) in enumerate(zip(model.specs.items(), model.heads, strict=True))
    }
