"""An encoder with all that is needed to rebuild and to feed it, and its two files on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError, nearest
from pipeline_lib.core.files import read_json, write_json
from pipeline_lib.encoders import ENCODERS


class Encoder(nn.Module):
    """A backbone with the normalisation of its input.

    Attributes: ``backbone`` maps normalised float32 ``[B, C, H, W]`` to features ``[B, num_features]``;
    ``mean`` and ``std`` (``[C]``, of pixels in 0-1) are buffers, so they move with the device.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, channels: int, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.name, self.channels, self.size = name, channels, size
        self.backbone = build_backbone(name, channels)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        # A constant channel has no spread to divide by.
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).clamp(min=1e-3))
        self.num_features = _count_features(self.backbone, channels, size)

    def normalise(self, images_BCHW: Tensor) -> Tensor:
        """Turn uint8 images into what the backbone takes."""
        x = images_BCHW.float().div_(255)
        return (x - self.mean[:, None, None]) / self.std[:, None, None]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map normalised images to features ``[B, num_features]``."""
        return self.backbone(x_BCHW)

    def config(self) -> dict[str, Any]:
        """Return the arguments that rebuild this encoder."""
        return {
            "encoder": self.name,
            "channels": self.channels,
            "size": self.size,
            "mean": [round(value, 6) for value in self.mean.tolist()],
            "std": [round(value, 6) for value in self.std.tolist()],
        }


def build_backbone(name: str, channels: int) -> nn.Module:
    """Return an untrained backbone: one of ENCODERS, or timm's of that name without its classifier.

    Raises UserError naming the nearest known name.
    """
    if name in ENCODERS:
        return ENCODERS[name](channels)
    if not timm.is_model(name):
        known = [*ENCODERS, *timm.list_models()]
        raise UserError(
            f"pretrain.encoder in params.yaml is '{name}', which is neither one of "
            f"{', '.join(ENCODERS)} nor a model of timm{nearest(name, known)}"
        )
    return timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels)


def from_config(config: Mapping[str, Any], seed: int = 0) -> Encoder:
    """Build the encoder that a config describes, with the random weights that ``seed`` gives."""
    torch.manual_seed(seed)
    return Encoder(config["encoder"], config["channels"], config["size"], config["mean"], config["std"])


def save_model(folder: Path, model: nn.Module, config: Mapping[str, Any]) -> None:
    """Write ``model.safetensors`` and ``config.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    write_json(folder / "config.json", config)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load the weights that ``save_model`` wrote into ``model``, which must have the same shape."""
    model.load_state_dict(load_file(folder / "model.safetensors"))


def load_encoder(folder: Path) -> Encoder:
    """Read an encoder that ``save_model`` wrote."""
    encoder = from_config(read_json(folder / "config.json"))
    load_weights(encoder, folder)
    return encoder


def _count_features(backbone: nn.Module, channels: int, size: int) -> int:
    training = backbone.training
    try:
        with torch.no_grad():
            return int(backbone.eval()(torch.zeros(2, channels, size, size)).shape[1])
    except RuntimeError as error:
        raise UserError(f"pretrain.encoder does not take images of {size} px ({error}): choose another") from None
    finally:
        backbone.train(training)
