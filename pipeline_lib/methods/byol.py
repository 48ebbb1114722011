"""BYOL: bootstrap your own latent (Grill 2020, https://arxiv.org/abs/2006.07733)."""

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
from lightly.utils.debug import std_of_l2_normalized
from torch import Tensor, nn

from pipeline_lib.core.ranks import gather
from pipeline_lib.core.registry import Share
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.momentum import cosine, frozen_copy, update_momentum
from pipeline_lib.methods.views import BYOL_FIRST, BYOL_SECOND, Augment, Width


class BYOL(nn.Module):
    """From one view, predict the projection that a slow copy of the encoder gives of the other view.

    ``momentum`` is at the start and rises to 1. Departs from the authors: smaller heads; the loss is the mean of
    both directions' negative cosine, a quarter of theirs but for a constant; all weights decay alike.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        *,
        momentum: Share = 0.996,
        hidden_dim: Width = 256,
        projection_dim: Width = 128,
    ) -> None:
        super().__init__()
        self.encoder, self.views, self.momentum = encoder, augment(BYOL_FIRST, BYOL_SECOND), momentum
        self.projection = BYOLProjectionHead(encoder.num_features, hidden_dim, projection_dim)
        self.prediction = BYOLPredictionHead(projection_dim, hidden_dim, projection_dim)
        self.teacher_encoder, self.teacher_projection = frozen_copy(encoder), frozen_copy(self.projection)
        self.criterion = NegativeCosineSimilarity()

    def begin_step(self, progress: float) -> None:
        """Move the teacher towards the student."""
        momentum = cosine(self.momentum, 1.0, progress)
        update_momentum(self.encoder, self.teacher_encoder, momentum)
        update_momentum(self.projection, self.teacher_projection, momentum)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss of two fresh views, and the spread of the projections (healthy near 1/sqrt(dim))."""
        views = self.views(images_BCHW)
        projections = [self.projection(self.encoder(view)) for view in views]
        predictions = [gather(self.prediction(projection)) for projection in projections]
        with torch.no_grad():
            targets = [gather(self.teacher_projection(self.teacher_encoder(view))) for view in views]
        loss = (self.criterion(predictions[0], targets[1]) + self.criterion(predictions[1], targets[0])) / 2
        return {"loss": loss, "projection_std": std_of_l2_normalized(gather(projections[0].detach()))}
