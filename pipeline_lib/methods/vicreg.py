"""VICReg: variance-invariance-covariance regularisation (Bardes 2022, https://arxiv.org/abs/2105.04906)."""

from dataclasses import replace
from typing import Annotated

from lightly.loss import VICRegLoss
from lightly.models.modules.heads import VICRegProjectionHead
from lightly.utils.debug import std_of_l2_normalized
from torch import Tensor, nn

from pipeline_lib.core.ranks import gather
from pipeline_lib.core.registry import Range
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.views import BYOL_FIRST, Augment, Width

Weight = Annotated[float, Range(ge=0)]
# BYOL's views, made alike.
VICREG = replace(BYOL_FIRST, blur=0.5, solarize=0.1)


class VICReg(nn.Module):
    """Projections of two views agree, while every dimension keeps its variance and no two dimensions covary.

    ``lambda_param``, ``mu_param`` and ``nu_param`` weigh invariance, variance and covariance. Departs from the authors:
    a projection of 512 in place of 8192 dimensions.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        *,
        lambda_param: Weight = 25.0,
        mu_param: Weight = 25.0,
        nu_param: Weight = 1.0,
        hidden_dim: Width = 512,
        projection_dim: Width = 512,
    ) -> None:
        super().__init__()
        self.encoder, self.views = encoder, augment(VICREG, VICREG)
        self.projection = VICRegProjectionHead(encoder.num_features, hidden_dim, projection_dim)
        self.criterion = VICRegLoss(lambda_param, mu_param, nu_param)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss of two fresh views, and the spread of the projections (healthy near 1/sqrt(dim))."""
        first, second = (gather(self.projection(self.encoder(view))) for view in self.views(images_BCHW))
        return {"loss": self.criterion(first, second), "projection_std": std_of_l2_normalized(first.detach())}
