"""An encoder with all that is needed to rebuild and to feed it, and its two files on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json, write_json
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.encoders.backbone import Stem, build_backbone, refusal, stem_for


class Encoder(nn.Module):
    """A backbone with the normalisation of its input.

    Attributes: ``backbone`` maps normalised float32 ``[B, C, H, W]`` to features ``[B, num_features]``;
    ``mean`` and ``std`` (``[C]``, of pixels in 0-1) are buffers, so they move with the device; ``stem`` is "small" or
    "original", see :mod:`pipeline_lib.encoders.backbone`, and follows from the size if it is not given; ``pretrained``
    is true once weights from elsewhere are loaded.

    Raises UserError for an unknown name, and for a backbone that does not take images of ``size`` px.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        channels: int,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        stem: Stem | None = None,
    ) -> None:
        super().__init__()
        self.name, self.channels, self.size, self.stem = name, channels, size, stem or stem_for(size)
        self.backbone = build_backbone(name, channels, size, self.stem)
        self.pretrained = False
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        # A constant channel has no spread to divide by.
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).clamp(min=1e-3))
        self.num_features = self._count_features()

    def normalise(self, images_BCHW: Tensor) -> Tensor:
        """Turn uint8 images of any size into what the backbone takes: float32 ``[B, C, size, size]``."""
        x = images_BCHW.float()
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        return (x.div_(255) - self.mean[:, None, None]) / self.std[:, None, None]

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
            "stem": self.stem,
        }

    def _count_features(self) -> int:
        training = self.backbone.training
        try:
            with torch.no_grad():
                features = self.backbone.eval()(torch.zeros(2, self.channels, self.size, self.size))
        except (ArithmeticError, AssertionError, RuntimeError, ValueError) as error:
            raise refusal(self.name, self.size, error) from None
        finally:
            self.backbone.train(training)
        if features.ndim != 2:
            raise UserError(f"encoder is '{self.name}', which gives no vector of features: choose another")
        return features.shape[1]


def from_config(config: Mapping[str, Any], seed: int = 0) -> Encoder:
    """Build the encoder that a config describes, with the random weights that ``seed`` gives.

    ``stem`` may be null, which lets the size decide. torch's generators are left as they are.
    """
    # Configs without the key were written when every stem was the original one.
    stem = config.get("stem", "original")
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU
        # Not the seed itself: what a caller draws from it next must not be the same numbers.
        torch.default_generator.manual_seed(derive_seed(seed, "encoder"))
        return Encoder(config["encoder"], config["channels"], config["size"], config["mean"], config["std"], stem)


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
