"""Barlow Twins: self-supervised learning via redundancy reduction (Zbontar 2021, https://arxiv.org/abs/2103.03230)."""

from typing import Annotated

from lightly.loss import BarlowTwinsLoss
from lightly.models.modules import BarlowTwinsProjectionHead
from lightly.utils.debug import std_of_l2_normalized
from torch import Tensor, nn

from pipeline_lib.core.ranks import gather
from pipeline_lib.core.registry import Range
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.views import BYOL_FIRST, BYOL_SECOND, Augment, Width


class BarlowTwins(nn.Module):
    """The correlation of two views' projections becomes the identity: alike in each dimension, no two dimensions alike.

    Departs from the authors: a projection of 512 in place of 8192 dimensions. It stays wider than other methods',
    for wide projections are what this one gains from.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        *,
        lambda_param: Annotated[float, Range(ge=0)] = 0.005,
        hidden_dim: Width = 512,
        projection_dim: Width = 512,
    ) -> None:
        super().__init__()
        self.encoder, self.views = encoder, augment(BYOL_FIRST, BYOL_SECOND)
        self.projection = BarlowTwinsProjectionHead(encoder.num_features, hidden_dim, projection_dim)
        self.criterion = BarlowTwinsLoss(lambda_param)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss of two fresh views, and the spread of the projections (healthy near 1/sqrt(dim))."""
        first, second = (gather(self.projection(self.encoder(view))) for view in self.views(images_BCHW))
        return {"loss": self.criterion(first, second), "projection_std": std_of_l2_normalized(first.detach())}
