"""Encoders: from normalised images to features. A new small one is a file and a line here."""

from collections.abc import Callable, Mapping

from torch import nn

from pipeline_lib.encoders.small_cnn import small_cnn
from pipeline_lib.encoders.small_vit import small_vit

# From the channels and the size of the images; every other name is one of timm's.
ENCODERS: Mapping[str, Callable[[int, int], nn.Module]] = {
    "small_cnn": small_cnn,
    "small_vit": small_vit,
}

__all__ = ["ENCODERS"]
