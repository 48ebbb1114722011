"""TENT: surer predictions by the scale and shift of batch normalisation (Wang 2021, https://arxiv.org/abs/2006.10726)."""

from typing import Annotated

from torch import Tensor, nn

from pipeline_lib.adapt.adapter import Adapter, entropy
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


class TENT(Adapter):
    """Train the scales and shifts of batch normalisation, and nothing else, to be sure of the target's images.

    The source's images are not used. With a ``margin``, images whose entropy is above that share of the greatest are
    left out, which EATA (Niu 2022, https://arxiv.org/abs/2204.02610) found to do without the harm of unsure ones: 0.4
    is its choice, 1 takes all. Raises UserError for an encoder without batch normalisation.
    """

    name = "tent"
    needs_batch_norm = True

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        margin: Annotated[float, Range(gt=0, le=1)] = 1.0,
    ) -> None:
        super().__init__(model, label, source, num_images)
        if lacking := self.lacks(model, label):
            raise UserError(f"{self.name} cannot adapt this model: {lacking}")
        self.margin = margin
        model.requires_grad_(False)
        for module in model.encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
                module.requires_grad_(True)

    def forward(self, images_BCHW: Tensor, places_B: Tensor) -> dict[str, Tensor]:
        """Return the mean entropy of the predictions that are sure enough, in nats, and their share."""
        probabilities_BC = self.probabilities(self.answers(self.features(images_BCHW)))
        unsure_B = entropy(probabilities_BC)
        greatest = unsure_B.new_tensor(probabilities_BC.shape[1]).log()
        sure_B = (unsure_B <= self.margin * greatest).float().detach()
        loss = (sure_B * unsure_B).sum() / sure_B.sum().clamp(min=1)
        return {"loss": loss, "sure": sure_B.mean()}
