"""What methods ask of their views: the strengths that authors published, and local crops.

The strengths are those for ImageNet's photographs. Blur is in px of the view, so it takes more from a small one.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import groupby
from typing import Annotated

import torch
from torch import Tensor

from pipeline_lib.core.errors import UserError, reason
from pipeline_lib.core.registry import Range
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.views.view import View

# From the views of a method to a function that draws them, in order, of uint8 images [B, C, H, W]: normalised floats
# [B, C, size, size] each.
Augment = Callable[..., Callable[[Tensor], list[Tensor]]]

# Options of several methods: the outputs of a layer, the number of local crops and their side in px.
Width = Annotated[int, Range(ge=1, le=65536)]
NumLocal = Annotated[int, Range(ge=0, le=64)]
Side = Annotated[int, Range(ge=8)]

CROP_AND_FLIP = View(min_scale=0.08, flip=0.5)
SIMCLR = replace(
    CROP_AND_FLIP, jitter=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, grayscale=0.2, blur=0.5
)
# MoCo v2 and SimSiam.
MOCO = replace(SIMCLR, min_scale=0.2, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
# BYOL and Barlow Twins; others start from them.
BYOL_FIRST = replace(
    CROP_AND_FLIP, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, grayscale=0.2, blur=1.0
)
BYOL_SECOND = replace(BYOL_FIRST, blur=0.1, solarize=0.2)


def local_views(encoder: Encoder, view: View, num: int, size: int | None) -> list[View]:
    """Return ``num`` times the local ``view``, with a side of ``size`` px or what :func:`local_view_size` gives."""
    return [replace(view, size=local_view_size(encoder, size))] * num if num else []


def local_view_size(encoder: Encoder, local_size: int | None) -> int:
    """Return the side of local crops in px: ``local_size``, or 3/7 of the encoder's (96 of 224) as an even number.

    Raises UserError if the encoder does not take images of that size.
    """
    size = max(int(encoder.size * 3 / 7) // 2 * 2, 8) if local_size is None else local_size
    training = encoder.training
    try:
        with torch.no_grad():
            encoder.eval()(encoder.mean.new_zeros(1, encoder.channels, size, size))
    except (ArithmeticError, AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"encoder is '{encoder.name}', which does not take local crops of {size} px ({reason(error)}): choose "
            "another encoder, another local_size or a method without local crops"
        ) from None
    finally:
        encoder.train(training)
    return size


def encode(encoder: Callable[[Tensor], Tensor], views: Iterable[Tensor]) -> Tensor:
    """Return the features of all views, ``[views * B, D]``, one view after the other.

    Neighbours of the same size go through the encoder together and share the statistics of its batch normalisation,
    as in the multi-crop of SwAV and DINO.
    """
    groups: Iterable[tuple[int, Iterable[Tensor]]] = groupby(views, key=lambda view: view.shape[-1])
    return torch.cat([encoder(torch.cat(list(group))) for _, group in groups])
