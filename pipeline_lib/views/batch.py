"""One random view of every image of a batch."""

from torch import Tensor

from pipeline_lib.views.blur import random_blur
from pipeline_lib.views.colour import normalising, random_colour, recolour
from pipeline_lib.views.geometry import random_affine, warp


def make_view(
    images_BCHW: Tensor,
    mean: Tensor,
    std: Tensor,
    *,
    min_scale: float = 1.0,
    rotation: float = 0.0,
    shear: float = 0.0,
    flip: float = 0.0,
    jitter: float = 0.0,
    grayscale: float = 0.0,
    blur: float = 0.0,
) -> Tensor:
    """Return one view per image, float32 ``[B, C, H, W]``, normalised by ``mean`` and ``std`` (``[C]``, of 0-1).

    ``images_BCHW`` is uint8 on any device. The randomness is torch's global generator's, so a seed before the
    call fixes the views. What each strength means is said in :mod:`~pipeline_lib.views.geometry`,
    :mod:`~pipeline_lib.views.colour` and :mod:`~pipeline_lib.views.blur`.
    """
    x = images_BCHW.float().div_(255)
    affine = random_affine(
        len(x), min_scale=min_scale, rotation=rotation, shear=shear, flip=flip, device=images_BCHW.device
    )
    x = warp(x, affine)
    matrix = random_colour(x, jitter=jitter, grayscale=grayscale)
    x = recolour(x, normalising(matrix, mean, std))
    return random_blur(x, blur) if blur > 0 else x
