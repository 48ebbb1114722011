"""DAN: equal distributions of the features by many kernels (Long 2015, https://arxiv.org/abs/1502.02791)."""

import torch
from torch import Tensor

from pipeline_lib.adapt.aligning import Aligning

# Of the kernels' squared widths, beside the mean squared distance of the images in a batch.
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
TINY = 1e-12


class DAN(Aligning):
    """Bring the maximum mean discrepancy of the features to zero, by Gaussian kernels of five widths."""

    name = "dan"

    def distance(self, source_BD: Tensor, target_BD: Tensor) -> Tensor:
        """Return the discrepancy of the features."""
        return discrepancy(source_BD, target_BD)


def discrepancy(source_BD: Tensor, target_BD: Tensor) -> Tensor:
    """Return the unbiased squared maximum mean discrepancy (Gretton 2012), the mean over kernels of WIDTHS.

    A kernel is ``exp(-|x - y|^2 / (2 w m))``, with ``m`` the mean squared distance of two different images of the
    batch, through which no gradient flows. The estimate may be negative; it is 0 for batches of one image.
    """
    num = len(source_BD)
    if num < 2:
        return (source_BD.sum() + target_BD.sum()) * 0
    pooled = torch.cat([source_BD, target_BD])
    squared = (pooled[:, None] - pooled[None]).square().sum(dim=2)
    mean = squared.detach().sum() / (len(pooled) * (len(pooled) - 1))
    kernel = torch.stack([(squared / (-2 * width * mean.clamp(min=TINY))).exp() for width in WIDTHS]).mean(dim=0)
    within = sum(part.sum() - part.trace() for part in (kernel[:num, :num], kernel[num:, num:]))
    return within / (num * (num - 1)) - 2 * kernel[:num, num:].mean()
