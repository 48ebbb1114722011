"""Views made one image at a time on the CPU by the transforms of lightly and torchvision, to compare quality with."""

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.core.errors import UserError
from pipeline_lib.views.view import View


def lightly_view(
    images_BCHW: Tensor, view: View, mean: Tensor, std: Tensor, *, size: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return one view per image, ``[B, C, size, size]`` in channels_last, normalised by ``mean`` and ``std``.

    Takes what :func:`~pipeline_lib.views.make_view` takes and changes the same things, as Pillow does them: colours
    are clamped to 0-255 after each change, brightness, contrast, saturation and hue come in random order, all colours
    come before blur, and what a rotation brings in from outside is black. ``images_BCHW`` is uint8 with 1 or 3
    channels, else UserError. torch's seed alone fixes the views: NumPy's and Python's global generators, which the
    transforms use too, are seeded from it at each call. Each process of a distributed run draws for itself.
    """
    channels = images_BCHW.shape[1]
    if channels not in (1, 3):
        raise UserError(
            f"transforms is 'lightly', whose views have 1 or 3 channels, not {channels}: take images that have, or set "
            "it to batched"
        )
    seed = int(torch.randint(2**32, ()))
    np.random.seed(seed)
    random.seed(seed)
    change = lightly_transform(view, mean.tolist(), std.tolist(), view.size or size)
    views = torch.stack([change(image) for image in images_BCHW.cpu()])
    return views.to(images_BCHW.device, dtype, memory_format=torch.channels_last)


def lightly_transform(view: View, mean: list[float], std: list[float], side: int) -> Callable[[Tensor], Tensor]:
    """Return the change of one uint8 image ``[C, H, W]`` that ``view`` asks for, normalised, ``[C, side, side]``."""
    # Here, so that the views of this project do not wait for these imports.
    from lightly.transforms.gaussian_blur import GaussianBlur
    from lightly.transforms.solarize import RandomSolarization
    from torchvision import transforms as T
    from torchvision.transforms.functional import to_pil_image

    jitter = T.ColorJitter(view.brightness, view.contrast, view.saturation, view.hue)
    turn = T.RandomAffine(view.rotation, shear=view.shear, interpolation=T.InterpolationMode.BILINEAR)
    return T.Compose(
        [
            # On tensors the transforms of lightly fail or round in other ways.
            to_pil_image,
            *([turn] if view.rotation > 0 or view.shear > 0 else []),
            T.RandomResizedCrop(side, scale=(view.min_scale, view.max_scale)),
            T.RandomHorizontalFlip(view.flip),
            T.RandomApply([jitter], view.jitter),
            T.RandomGrayscale(view.grayscale),
            GaussianBlur(prob=view.blur, sigmas=(0.1, 2.0)),
            RandomSolarization(prob=view.solarize),
            T.ToTensor(),
            T.Normalize(mean, std),
        ]
    )
