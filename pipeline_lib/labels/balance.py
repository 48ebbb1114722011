"""What each class counts, so that rare ones are learnt too."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# The share of an image that others of its class do not tell already; its authors try 0.9 to 0.9999.
BETA = 0.999


def class_weights(encoded_N: "Tensor", num_classes: int, beta: float = BETA) -> "Tensor":
    """Return weights of classes, float32 ``[C]``, by how rare each is (Cui 2019, arXiv:1901.05555).

    They are in proportion to 1 / E, where E = (1 - beta ** n) / (1 - beta) of n images: about n where they are few, and
    never more than 1 / (1 - beta). The mean weight of an image is 1, so that losses keep their size. ``encoded_N`` are
    numbers of classes, int64, MISSING for none; a class without an image weighs as one with a single image.
    """
    counts_C = encoded_N[encoded_N >= 0].bincount(minlength=num_classes).double()
    weights_C = (1 - beta) / (1 - beta ** counts_C.clamp(min=1))
    return (weights_C * counts_C.sum().clamp(min=1) / (weights_C * counts_C).sum().clamp(min=1e-12)).float()
