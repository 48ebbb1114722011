"""Encoders: from normalised images to features. A new small one is a file and a line here."""

from collections.abc import Callable, Mapping

from torch import nn

from pipeline_lib.encoders.small_cnn import small_cnn

# Every other name is one of timm's.
ENCODERS: Mapping[str, Callable[[int], nn.Module]] = {
    "small_cnn": small_cnn,
}

__all__ = ["ENCODERS"]
