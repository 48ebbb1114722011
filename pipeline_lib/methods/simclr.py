"""SimCLR: a simple framework for contrastive learning (Chen 2020, https://arxiv.org/abs/2002.05709)."""

from collections.abc import Callable

from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.utils.debug import std_of_l2_normalized
from torch import Tensor, nn

from pipeline_lib.encoders.encoder import Encoder


class SimCLR(nn.Module):
    """Two views of an image attract, views of different images repel."""

    def __init__(
        self,
        encoder: Encoder,
        view: Callable[[Tensor], Tensor],
        *,
        temperature: float = 0.2,
        hidden_dim: int = 256,
        projection_dim: int = 128,
    ) -> None:
        super().__init__()
        self.encoder, self.view = encoder, view
        self.projection = SimCLRProjectionHead(encoder.num_features, hidden_dim, projection_dim)
        self.criterion = NTXentLoss(temperature=temperature)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss of two fresh views, and the spread of the projections (healthy near 1/sqrt(dim))."""
        first, second = (self.projection(self.encoder(self.view(images_BCHW))) for _ in range(2))
        return {"loss": self.criterion(first, second), "projection_std": std_of_l2_normalized(first.detach())}
