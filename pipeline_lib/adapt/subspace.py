"""Subspace alignment: heads for the target's principal directions (Fernando 2013, ICCV)."""

from typing import Annotated

import torch
from torch import Tensor

from pipeline_lib.adapt.coral import CORAL
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


class Subspace(CORAL):
    """Turn the source's first principal directions into the target's, and fit every head anew; train nothing else.

    ``dims`` is how many directions are kept, at most as many as there are features or images.
    """

    name = "subspace"

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        dims: Annotated[int, Range(ge=1)] = 64,
    ) -> None:
        super().__init__(model, label, source, num_images)
        self.dims = dims

    def align(self, source_MD: Tensor, target_ND: Tensor) -> Tensor:
        """Return the source's features in the target's subspace."""
        return turned(source_MD, target_ND, self.dims)


def turned(source_MD: Tensor, target_ND: Tensor, dims: int) -> Tensor:
    """Return ``(source - mean) S S' T T' + the target's mean``, of the bases ``[D, dims]`` S and T of the subspaces."""
    first, second = _basis(source_MD, dims), _basis(target_ND, dims)
    dims = min(first.shape[1], second.shape[1])
    centred_MD = source_MD - source_MD.mean(dim=0)
    first, second = first[:, :dims], second[:, :dims]
    return centred_MD @ first @ (first.T @ second) @ second.T + target_ND.mean(dim=0)


def _basis(x_ND: Tensor, dims: int) -> Tensor:
    return torch.linalg.svd((x_ND - x_ND.mean(dim=0)).double(), full_matrices=False).Vh[:dims].T.to(x_ND)
