"""SimCLR: a simple framework for contrastive learning (Chen 2020, https://arxiv.org/abs/2002.05709)."""

from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.utils.debug import std_of_l2_normalized
from torch import Tensor, nn

from pipeline_lib.core.ranks import gather
from pipeline_lib.core.registry import Positive
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.views import SIMCLR, Augment, Width


class SimCLR(nn.Module):
    """Two views of an image attract, views of different images repel.

    Departs from the authors: a smaller projection, and batch statistics are of one view at a time.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        *,
        temperature: Positive = 0.2,
        hidden_dim: Width = 256,
        projection_dim: Width = 128,
    ) -> None:
        super().__init__()
        self.encoder, self.views = encoder, augment(SIMCLR, SIMCLR)
        self.projection = SimCLRProjectionHead(encoder.num_features, hidden_dim, projection_dim)
        self.criterion = NTXentLoss(temperature=temperature)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss of two fresh views, and the spread of the projections (healthy near 1/sqrt(dim))."""
        first, second = (gather(self.projection(self.encoder(view))) for view in self.views(images_BCHW))
        return {"loss": self.criterion(first, second), "projection_std": std_of_l2_normalized(first.detach())}
