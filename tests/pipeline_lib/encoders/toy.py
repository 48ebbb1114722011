"""Encoders and trained networks that are small."""

import timm
import torch
from torch import nn

from pipeline_lib.encoders.encoder import Encoder, from_config


def encoder_for(name: str, channels: int = 3, size: int = 32, stem: str | None = "original", seed: int = 0) -> Encoder:
    spread = {"mean": [0.5] * channels, "std": [0.25] * channels}
    return from_config({"encoder": name, "channels": channels, "size": size, "stem": stem, **spread}, seed).eval()


def trained_resnet(channels: int = 3) -> nn.Module:
    """Return a network with a classifier whose running averages are not those of the start."""
    torch.manual_seed(7)
    model = timm.create_model("resnet10t", in_chans=channels, num_classes=5).train()
    with torch.no_grad():
        model(torch.randn(4, channels, 32, 32))
    return model.eval()
