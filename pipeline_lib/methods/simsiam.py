"""SimSiam: exploring simple siamese networks (Chen 2021, https://arxiv.org/abs/2011.10566)."""

from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead
from lightly.utils.debug import std_of_l2_normalized
from torch import Tensor, nn

from pipeline_lib.core.ranks import gather
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.views import MOCO, Augment, Width


class SimSiam(nn.Module):
    """From one view, predict the projection of the other, through which no gradient flows.

    The predictor narrows to a quarter of the projection, as the authors'. Departs from them: smaller heads, and
    the predictor's learning rate falls with that of all other weights.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        *,
        hidden_dim: Width = 256,
        projection_dim: Width = 256,
        prediction_hidden_dim: Width = 64,
    ) -> None:
        super().__init__()
        self.encoder, self.views = encoder, augment(MOCO, MOCO)
        self.projection = SimSiamProjectionHead(encoder.num_features, hidden_dim, projection_dim)
        self.prediction = SimSiamPredictionHead(projection_dim, prediction_hidden_dim, projection_dim)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss of two fresh views, and the spread of the projections (healthy near 1/sqrt(dim))."""
        projections = [self.projection(self.encoder(view)) for view in self.views(images_BCHW)]
        predictions = [gather(self.prediction(projection)) for projection in projections]
        targets = [gather(projection.detach()) for projection in projections]
        loss = (self.criterion(predictions[0], targets[1]) + self.criterion(predictions[1], targets[0])) / 2
        return {"loss": loss, "projection_std": std_of_l2_normalized(targets[0])}
