"""LeJEPA: provable and scalable self-supervised learning without the heuristics (https://arxiv.org/abs/2511.08544)."""

from dataclasses import replace
from typing import Annotated

import torch
from lightly.loss import LeJEPALoss
from lightly.models.modules.heads import LeJEPAProjectionHead
from lightly.utils.debug import std_of_l2_normalized
from torch import Tensor, nn

from pipeline_lib.core.ranks import gather
from pipeline_lib.core.registry import Range, Share
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.views import BYOL_FIRST, Augment, Side, Width, encode, local_views

GLOBAL_VIEW = replace(BYOL_FIRST, min_scale=0.3, blur=0.5, solarize=0.2)
LOCAL_VIEW = replace(GLOBAL_VIEW, min_scale=0.05, max_scale=0.3)


class LeJEPA(nn.Module):
    """All views' projections agree with the whole views' mean, and are spread as a normal distribution.

    That is tested along ``sigreg_num_vectors`` random directions, which every process must draw alike: they come from
    torch's generator of the device, which the training loop seeds alike on all of them before each step.
    Departs from the authors: a smaller hidden layer.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        *,
        lambda_param: Share = 0.05,
        sigreg_num_vectors: Width = 1024,
        n_local_views: Annotated[int, Range(ge=1, le=64)] = 6,
        local_size: Side | None = None,
        hidden_dim: Width = 256,
        projection_dim: Width = 64,
    ) -> None:
        super().__init__()
        crops = local_views(encoder, LOCAL_VIEW, n_local_views, local_size)
        self.encoder, self.views = encoder, augment(GLOBAL_VIEW, GLOBAL_VIEW, *crops)
        self.projection = LeJEPAProjectionHead(encoder.num_features, hidden_dim, projection_dim)
        self.criterion = LeJEPALoss(lambda_param, sigreg_num_vectors=sigreg_num_vectors)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss of fresh views, and the spread of the projections (healthy near 1/sqrt(dim))."""
        views = self.views(images_BCHW)
        projections = self.projection(encode(self.encoder, views)).chunk(len(views))
        # [B, views, D] while gathering, so that the rows of a process stay together.
        gathered = gather(torch.stack(projections, dim=1)).transpose(0, 1)
        loss = self.criterion(global_proj=gathered[:2], local_proj=gathered[2:])
        return {"loss": loss, "projection_std": std_of_l2_normalized(gathered[0].detach())}
