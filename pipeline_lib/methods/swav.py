"""SwAV: clustering with swapped assignments between views (Caron 2020, https://arxiv.org/abs/2006.09882)."""

from dataclasses import replace
from typing import Annotated, Any

import torch
from lightly.loss import SwaVLoss
from lightly.models.modules import SwaVProjectionHead
from lightly.models.utils import normalize_weight
from lightly.utils.debug import std_of_l2_normalized
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.core.ranks import gather
from pipeline_lib.core.registry import Positive, Range, Share
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.views import SIMCLR, Augment, NumLocal, Side, Width, encode, local_views

GLOBAL_VIEW = replace(SIMCLR, min_scale=0.14)
LOCAL_VIEW = replace(SIMCLR, min_scale=0.05, max_scale=0.14)


class SwAV(nn.Module):
    """From any view, predict to which prototypes another view is assigned, where assignments fill all evenly.

    Prototypes stay as they are for the first ``freeze_prototypes`` of the training (the authors: one epoch); they
    are lightly's but for its bias, which the authors do not have. Departs from the authors: 512 prototypes in
    place of 3000, smaller projection, and no queue of earlier batches for the assignments. Below 0.02 for
    ``sinkhorn_epsilon``, the exponentials of scores in -1 to 1 would leave single precision.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        *,
        temperature: Positive = 0.1,
        sinkhorn_epsilon: Annotated[float, Range(ge=0.02)] = 0.05,
        sinkhorn_iterations: Annotated[int, Range(ge=1, le=100)] = 3,
        n_prototypes: Width = 512,
        freeze_prototypes: Share = 0.01,
        n_local_views: NumLocal = 6,
        local_size: Side | None = None,
        hidden_dim: Width = 256,
        projection_dim: Width = 128,
    ) -> None:
        super().__init__()
        crops = local_views(encoder, LOCAL_VIEW, n_local_views, local_size)
        self.encoder, self.views = encoder, augment(GLOBAL_VIEW, GLOBAL_VIEW, *crops)
        self.projection = SwaVProjectionHead(encoder.num_features, hidden_dim, projection_dim)
        self.prototypes = nn.Linear(projection_dim, n_prototypes, bias=False)
        self.progress = 0.0
        # Not by requires_grad: DistributedDataParallel waits for the gradient of every weight.
        weight: Any = self.prototypes.weight
        weight.register_hook(lambda gradient: gradient * (self.progress >= freeze_prototypes))
        self.criterion = SwaVLoss(temperature, sinkhorn_iterations, sinkhorn_epsilon)

    def begin_step(self, progress: float) -> None:
        """Bring the prototypes back to length 1."""
        self.progress = progress
        normalize_weight(self.prototypes.weight)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss of fresh views, and the spread of the projections (healthy near 1/sqrt(dim))."""
        views = self.views(images_BCHW)
        projections = F.normalize(self.projection(encode(self.encoder, views)))
        # [B, views, D], so that the rows of a process stay together.
        gathered = gather(torch.stack(projections.chunk(len(views)), dim=1))
        scores = list(self.prototypes(gathered).unbind(1))
        loss = self.criterion(scores[:2], scores[2:]).squeeze(0)
        return {"loss": loss, "projection_std": std_of_l2_normalized(gathered[:, 0].detach())}
