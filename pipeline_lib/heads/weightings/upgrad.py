"""No small step that makes the loss of one label larger (UPGrad, Quinton and Rey 2024, arXiv:2406.16232)."""

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from pipeline_lib.heads.weightings.conflict import Conflict, aggregation


class UPGrad(Conflict):
    """Each gradient is projected to the nearest that goes against none, and the mean of these is taken."""

    def __init__(self, num_labels: int) -> None:
        super().__init__(aggregation().UPGradWeighting(projector=project))


def project(weights_UM: Tensor, products_MM: Tensor) -> Tensor:
    """Return the weights ``[U, M]`` of the nearest mixtures of M gradients that go against none of them.

    That is the v >= u with the least v' G v for each row u of ``weights_UM`` and G, the inner products. torchjd's own
    solver of this, quadprog, has a licence that asks more than this project's.
    """
    gramian = products_MM.detach().double().cpu().numpy()
    values_M, vectors_MM = np.linalg.eigh(gramian / max(np.trace(gramian), np.finfo(float).tiny))
    root_MM = np.sqrt(values_M.clip(min=0))[:, None] * vectors_MM.T
    found = [u_M + nnls(root_MM, -root_MM @ u_M)[0] for u_M in weights_UM.detach().double().cpu().numpy()]
    return torch.from_numpy(np.stack(found)).to(products_MM)
