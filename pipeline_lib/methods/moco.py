"""MoCo v2: momentum contrast with a queue of negatives (Chen 2020, https://arxiv.org/abs/2003.04297)."""

from typing import Annotated

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import MoCoProjectionHead
from lightly.utils.debug import std_of_l2_normalized
from torch import Tensor, nn

from pipeline_lib.core.ranks import gather
from pipeline_lib.core.registry import Positive, Range, Share
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.momentum import frozen_copy, update_momentum
from pipeline_lib.methods.views import MOCO, Augment, Width


class MoCo(nn.Module):
    """A view attracts the slow encoder's key of another view; the keys of earlier images repel it.

    Temperature, momentum and length of the queue are those of the authors' recipe for CIFAR-10
    (https://github.com/facebookresearch/moco). Departs from them: a smaller projection, and no shuffling of samples
    among the processes' batch normalisations, whose statistics are of the whole batch.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        *,
        temperature: Positive = 0.1,
        momentum: Share = 0.99,
        memory_bank_size: Annotated[int, Range(ge=1, le=2**20)] = 4096,
        hidden_dim: Width = 256,
        projection_dim: Width = 128,
    ) -> None:
        super().__init__()
        self.encoder, self.views, self.momentum = encoder, augment(MOCO, MOCO), momentum
        self.projection = MoCoProjectionHead(encoder.num_features, hidden_dim, projection_dim)
        self.key_encoder, self.key_projection = frozen_copy(encoder), frozen_copy(self.projection)
        self.criterion = NTXentLoss(temperature, memory_bank_size=(memory_bank_size, projection_dim))
        # lightly leaves the queue out of the state, so that a resumed run would start with random negatives.
        bank = self.criterion.memory_bank
        bank.register_buffer("bank", bank.bank, persistent=True)
        bank.register_buffer("bank_ptr", bank.bank_ptr, persistent=True)

    def begin_step(self, progress: float) -> None:
        """Move the key encoder towards the encoder."""
        update_momentum(self.encoder, self.key_encoder, self.momentum)
        update_momentum(self.projection, self.key_projection, self.momentum)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss of two fresh views, and the spread of the queries (healthy near 1/sqrt(dim))."""
        query_view, key_view = self.views(images_BCHW)
        query = gather(self.projection(self.encoder(query_view)))
        with torch.no_grad():
            key = gather(self.key_projection(self.key_encoder(key_view)))
        return {"loss": self.criterion(query, key), "projection_std": std_of_l2_normalized(query.detach())}
