from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders import ENCODERS
from pipeline_lib.encoders.encoder import build_backbone, from_config, load_encoder, save_model
from pipeline_lib.encoders.features import extract, to_tensor

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", [*ENCODERS, "resnet10t"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_encoder_survives_its_two_files(name: str, channels: int, tmp_path: Path) -> None:
    config = {"encoder": name, "channels": channels, "size": 32, "mean": [0.5] * channels, "std": [0.25] * channels}
    encoder = from_config(config, seed=1)
    save_model(tmp_path, encoder, encoder.config())
    again = load_encoder(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, channels), dtype=np.uint8)
    features = extract(encoder, images, 2, CPU, "features")
    assert features.shape == (5, encoder.num_features)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, extract(again, images, 2, CPU, "features"))
    assert again.config() == config
    assert {file.name for file in tmp_path.iterdir()} == {"model.safetensors", "config.json"}


def test_the_seed_gives_the_untrained_weights() -> None:
    config = {"encoder": "small_cnn", "channels": 1, "size": 28, "mean": [0.1], "std": [0.3]}
    first, same, other = (from_config(config, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_an_unknown_encoder_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'small_cnn'"):
        build_backbone("smal_cnn", 1)
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        build_backbone("resnet_18", 3)


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    encoder = from_config({"encoder": "small_cnn", "channels": 1, "size": 28, "mean": [0.0], "std": [0.0]})
    assert torch.isfinite(encoder.normalise(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))).all()


def test_images_become_channels_first() -> None:
    images = np.arange(2 * 3 * 4 * 1, dtype=np.uint8).reshape(2, 3, 4, 1)
    assert to_tensor(images).shape == (2, 1, 3, 4)
    assert to_tensor(images)[1, 0, 2, 3] == images[1, 2, 3, 0]
