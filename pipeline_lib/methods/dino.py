"""DINO: self-distillation with no labels (Caron 2021, https://arxiv.org/abs/2104.14294)."""

import warnings
from dataclasses import replace

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.utils.debug import std_of_l2_normalized
from torch import Tensor, nn

from pipeline_lib.core.ranks import gather
from pipeline_lib.core.registry import Positive, Share
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.momentum import cosine, frozen_copy, update_momentum
from pipeline_lib.methods.views import BYOL_FIRST, BYOL_SECOND, Augment, NumLocal, Side, Width, encode, local_views

FIRST_VIEW = replace(BYOL_FIRST, min_scale=0.4)
SECOND_VIEW = replace(BYOL_SECOND, min_scale=0.4)
LOCAL_VIEW = replace(BYOL_FIRST, min_scale=0.05, max_scale=0.4, blur=0.5)


class DINO(nn.Module):
    """From any view, predict what a slow copy of the network, centred and sharpened, says of a whole view.

    ``momentum_teacher`` rises to 1; the teacher's temperature rises in the first ``warmup_teacher_temp_share`` of the
    training, and the last layer stays as it is for the first ``freeze_last_layer`` (the authors count both in
    epochs). What is kept of the training is the teacher's encoder, as with the authors. Departs from them: a smaller
    head.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        *,
        student_temp: Positive = 0.1,
        teacher_temp: Positive = 0.07,
        warmup_teacher_temp: Positive = 0.04,
        warmup_teacher_temp_share: Share = 0.1,
        momentum_teacher: Share = 0.996,
        center_momentum: Share = 0.9,
        freeze_last_layer: Share = 0.01,
        n_local_views: NumLocal = 8,
        local_size: Side | None = None,
        hidden_dim: Width = 256,
        bottleneck_dim: Width = 128,
        output_dim: Width = 2048,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        crops = local_views(encoder, LOCAL_VIEW, n_local_views, local_size)
        self.encoder, self.views = encoder, augment(FIRST_VIEW, SECOND_VIEW, *crops)
        dims = (encoder.num_features, hidden_dim, bottleneck_dim, output_dim)
        with warnings.catch_warnings():
            # Of torch, about the weight normalisation that lightly takes.
            warnings.simplefilter("ignore", FutureWarning)
            self.head = DINOProjectionHead(*dims, batch_norm=batch_norm)
            # Built anew, because weight normalisation cannot be copied.
            self.teacher_head = DINOProjectionHead(*dims, batch_norm=batch_norm).requires_grad_(False)
        self.teacher_encoder = frozen_copy(encoder)
        self.teacher_head.load_state_dict(self.head.state_dict())
        # Not by requires_grad: DistributedDataParallel waits for the gradient of every weight.
        self.progress = 0.0
        self.head.last_layer.weight_v.register_hook(lambda gradient: gradient * (self.progress >= freeze_last_layer))
        self.criterion = DINOLoss(output_dim, student_temp=student_temp, center_momentum=center_momentum)
        self.temperatures, self.warmup = (warmup_teacher_temp, teacher_temp), warmup_teacher_temp_share
        self.momentum = momentum_teacher

    @property
    def kept(self) -> Encoder:
        """The encoder that the training is for."""
        return self.teacher_encoder

    def begin_step(self, progress: float) -> None:
        """Move the teacher towards the student."""
        self.progress = progress
        momentum = cosine(self.momentum, 1.0, progress)
        update_momentum(self.encoder, self.teacher_encoder, momentum)
        update_momentum(self.head, self.teacher_head, momentum)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the loss of fresh views, and the spread of the first one's outputs (healthy near 1/sqrt(dim))."""
        views = self.views(images_BCHW)
        with torch.no_grad():
            teacher = self.teacher_head(encode(self.teacher_encoder, views[:2])).chunk(2)
        student = self.head(encode(self.encoder, views)).chunk(len(views))
        low, high = self.temperatures
        warm = min(self.progress / self.warmup, 1.0) if self.warmup else 1.0
        # A mean over samples is the mean of the processes' means, and lightly gathers what the centre needs.
        loss = self.criterion(list(teacher), list(student), teacher_temp=low + (high - low) * warm)
        return {"loss": gather(loss[None]).mean(), "projection_std": std_of_l2_normalized(student[0].detach())}
