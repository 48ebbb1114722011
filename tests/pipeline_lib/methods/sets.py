"""Methods on small random images."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline_lib.encoders.encoder import Encoder, from_config
from pipeline_lib.methods import LABELLED, METHODS
from pipeline_lib.views import View, augment, make_view

NEED_TRANSFORMER = {"mae"}


def make_encoder(name: str = "small_cnn", channels: int = 1, size: int = 16, seed: int = 0) -> Encoder:
    mean, std = [0.4] * channels, [0.3] * channels
    return from_config({"encoder": name, "channels": channels, "size": size, "mean": mean, "std": std}, seed)


def encoder_for(method: str, **settings: Any) -> Encoder:
    return make_encoder("small_vit" if method in NEED_TRANSFORMER else "small_cnn", **settings)


def in_double(encoder: Encoder) -> Callable[..., Callable[[Tensor], list[Tensor]]]:
    # As they are now, for the method's precision will change.
    mean, std = encoder.mean.clone(), encoder.std.clone()

    def plan(*views: View) -> Callable[[Tensor], list[Tensor]]:
        return lambda images: [
            make_view(images, view, mean, std, size=encoder.size, dtype=torch.float64) for view in views
        ]

    return plan


def unchanged(encoder: Encoder) -> Callable[..., Callable[[Tensor], list[Tensor]]]:
    return lambda *views: lambda images: [encoder.normalise(images) for _ in views]


def make_method(name: str, seed: int = 0, options: dict[str, Any] | None = None, **settings: Any) -> nn.Module:
    encoder = encoder_for(name, seed=seed, **settings)
    return METHODS[name](encoder, augment(encoder), **(options or {}))


def make_batch(method: str, num: int = 16, channels: int = 1, size: int = 16) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num, channels, size, size), dtype=torch.uint8, generator=generator)
    # The second half has fewer labels than the first.
    labels = torch.where(torch.arange(num) < num - num // 4, torch.arange(num) % 2, -1)
    return {"images_BCHW": images, "labels": labels} if method in LABELLED else {"images_BCHW": images}


def step(method: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor], progress: float) -> Any:
    if hasattr(method, "begin_step"):
        method.begin_step(progress)
    values = method(**batch)
    optimizer.zero_grad()
    values["loss"].backward()
    optimizer.step()
    return values
