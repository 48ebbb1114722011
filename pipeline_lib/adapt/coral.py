"""CORAL: heads for features with the target's covariance (Sun 2016, https://arxiv.org/abs/1511.05547)."""

from typing import Annotated

import torch
from torch import Tensor

from pipeline_lib.adapt.adapter import Adapter
from pipeline_lib.adapt.heads import refit_heads
from pipeline_lib.core.registry import Range
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.inference import features
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


class CORAL(Adapter):
    """Give the source's features the mean and covariance of the target's, and fit every head anew; train nothing else.

    ``ridge`` is added to both covariances, as a share of their mean variance, so that they can be inverted where there
    are fewer images than features (the authors add 1).
    """

    name = "coral"
    needs_label = False
    needs_source = True
    trains = False
    fits_heads = True

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        ridge: Annotated[float, Range(gt=0)] = 0.1,
    ) -> None:
        super().__init__(model, label, source, num_images)
        self.ridge = ridge

    def finish(self, rows: Rows, device: torch.device) -> None:
        """Estimate the target's batch statistics, and fit the heads."""
        super().finish(rows, device)
        target_ND = torch.from_numpy(features(self.model.encoder, rows, device, self.batch_size)).to(device)
        assert self.source is not None
        refit_heads(self.model, self.source, device, align=lambda x_ND: self.align(x_ND, target_ND))

    def align(self, source_MD: Tensor, target_ND: Tensor) -> Tensor:
        """Return the source's features with the target's mean and covariance."""
        return recoloured(source_MD, target_ND, self.ridge)


def recoloured(source_MD: Tensor, target_ND: Tensor, ridge: float) -> Tensor:
    """Return ``(source - mean) S^-1/2 T^1/2 + the target's mean``, of the covariances S and T with their ridge."""
    whitening = _power(source_MD.T.cov(), ridge, -0.5)
    colouring = _power(target_ND.T.cov(), ridge, 0.5)
    return (source_MD - source_MD.mean(dim=0)) @ whitening @ colouring + target_ND.mean(dim=0)


def _power(covariance_DD: Tensor, ridge: float, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance_DD.double())
    raised = (values.clamp(min=0) + ridge * values.mean()).clamp(min=1e-12) ** exponent
    return ((vectors * raised) @ vectors.T).to(covariance_DD)
