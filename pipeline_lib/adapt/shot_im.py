"""SHOT-IM: information maximisation under the source's hypothesis (Liang 2020, https://arxiv.org/abs/2002.08546)."""

from typing import Annotated

from torch import Tensor

from pipeline_lib.adapt.adapter import Adapter, entropy
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


class ShotIM(Adapter):
    """Train the encoder, with the heads fixed, to be sure of each target image and varied over all of them.

    The source's images are not used. ``diversity`` weighs the second part of the loss.
    """

    name = "shot_im"

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        diversity: Annotated[float, Range(ge=0)] = 1.0,
    ) -> None:
        super().__init__(model, label, source, num_images)
        self.diversity = diversity
        model.requires_grad_(False)
        model.encoder.requires_grad_(True)

    def forward(self, images_BCHW: Tensor, places_B: Tensor) -> dict[str, Tensor]:
        """Return the loss, the mean entropy of the predictions and the entropy of their mean, in nats."""
        return self.information(self.probabilities(self.answers(self.features(images_BCHW))))

    def information(self, probabilities_BC: Tensor) -> dict[str, Tensor]:
        """Return the loss of information maximisation, and its parts."""
        certainty = entropy(probabilities_BC).mean()
        variety = entropy(probabilities_BC.mean(dim=0))
        return {"loss": certainty - self.diversity * variety, "entropy": certainty, "marginal_entropy": variety}
