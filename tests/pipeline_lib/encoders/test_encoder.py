from pathlib import Path
from typing import Any

import pytest
import torch
from lightly.models.modules import MaskedVisionTransformerTIMM

from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders import ENCODERS
from pipeline_lib.encoders.backbone import build_backbone, stem_for
from pipeline_lib.encoders.encoder import Encoder, from_config, load_encoder, save_model
from pipeline_lib.encoders.small_vit import patch_size, small_vit


def recipe(name: str, channels: int = 1, size: int = 28) -> dict[str, Any]:
    spread = {"mean": [0.5] * channels, "std": [0.25] * channels}
    return {"encoder": name, "channels": channels, "size": size, "stem": None, **spread}


@pytest.mark.parametrize("name", [*ENCODERS, "resnet10t"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_encoder_survives_its_two_files(name: str, channels: int, tmp_path: Path) -> None:
    encoder = from_config(recipe(name, channels, 32), seed=1)
    save_model(tmp_path, encoder, encoder.config())
    again = load_encoder(tmp_path)
    images = torch.randint(0, 256, (5, channels, 32, 32), dtype=torch.uint8)
    features, those = (module.eval()(module.normalise(images)) for module in (encoder, again))
    assert features.shape == (5, encoder.num_features)
    assert features.dtype == torch.float32
    assert torch.equal(features, those)
    assert again.config() == encoder.config() == {**recipe(name, channels, 32), "stem": "small"}
    assert {file.name for file in tmp_path.iterdir()} == {"model.safetensors", "config.json"}


def test_the_seed_gives_the_untrained_weights() -> None:
    config = {"encoder": "small_cnn", "channels": 1, "size": 28, "mean": [0.1], "std": [0.3]}
    first, same, other = (from_config(config, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("name", [*ENCODERS, "resnet10t"])
def test_drawing_weights_leaves_the_generators_alone(name: str) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    from_config(recipe(name, 1, 32), seed=5)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_a_caller_draws_from_the_same_seed_is_not_what_the_weights_were_drawn_from() -> None:
    torch.manual_seed(1)
    theirs = build_backbone("small_vit", 1, 28).state_dict()["pos_embed"]
    assert not torch.equal(from_config(recipe("small_vit"), seed=1).state_dict()["backbone.pos_embed"], theirs)


def test_an_unknown_encoder_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'small_cnn'"):
        build_backbone("smal_cnn", 1, 28)
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        build_backbone("resnet_18", 3, 32)


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    encoder = from_config({"encoder": "small_cnn", "channels": 1, "size": 28, "mean": [0.0], "std": [0.0]})
    assert torch.isfinite(encoder.normalise(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))).all()


@pytest.mark.parametrize(
    "name", ["resnet18", "vgg11_bn", "vit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224"]
)
def test_models_of_timm_take_small_images_of_any_number_of_channels(name: str) -> None:
    encoder = from_config(recipe(name, channels=2, size=32)).eval()
    images = torch.randint(0, 256, (3, 2, 32, 32), dtype=torch.uint8)
    features = encoder(encoder.normalise(images))
    assert features.shape == (3, encoder.num_features)
    assert torch.isfinite(features).all()
    assert not torch.allclose(features[0], features[1])


def test_an_encoder_that_cannot_take_the_size_says_so() -> None:
    with pytest.raises(
        UserError, match=r"^encoder is 'inception_v3', which does not take images of 32 px .*larger size$"
    ):
        from_config(recipe("inception_v3", channels=3, size=32))
    with pytest.raises(UserError, match=r"^images of 31 px cannot be cut.*multiple of 4, such as 32$"):
        from_config(recipe("small_vit", size=31))


def first_stage(name: str, size: int) -> torch.Size:
    backbone: Any = build_backbone(name, 1, size).eval()
    return backbone.maxpool(backbone.act1(backbone.bn1(backbone.conv1(torch.zeros(1, 1, size, size))))).shape[-2:]


@pytest.mark.parametrize("name", ["resnet18", "resnet10t", "resnet26d", "resnet18d"])
def test_a_resnet_keeps_the_resolution_of_small_images(name: str) -> None:
    assert first_stage(name, 32) == (32, 32)
    assert first_stage(name, 96) == (24, 24)


def test_the_small_stem_is_that_of_the_cifar_recipes() -> None:
    backbone: Any = build_backbone("resnet18", 1, 32)
    assert backbone.conv1.weight.shape == (64, 1, 3, 3)
    assert backbone.conv1.stride == (1, 1)
    # As wide as the other convolutions start out, which is what timm's initialisation gives.
    torch.testing.assert_close(backbone.conv1.weight.std(), torch.tensor((2 / (64 * 9)) ** 0.5), rtol=0.1, atol=0)


def test_a_vision_transformer_cuts_small_images_into_small_patches() -> None:
    small: Any = build_backbone("vit_tiny_patch16_224", 1, 28)
    assert small.patch_embed.patch_size == (4, 4)
    assert small.pos_embed.shape[1] == 7 * 7 + 1
    large: Any = build_backbone("vit_tiny_patch16_224", 1, 96)
    assert large.patch_embed.patch_size == (16, 16)


@pytest.mark.parametrize("name", ["small_vit", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("size", [12, 13])
def test_a_vision_transformer_takes_crops_of_other_sizes(name: str, size: int) -> None:
    encoder = from_config(recipe(name)).eval()
    assert encoder(torch.zeros(2, 1, size, size)).shape == (2, encoder.num_features)


@pytest.mark.parametrize("size", [28, 30, 64, 96, 100, 224])
def test_patches_divide_the_image(size: int) -> None:
    assert size % patch_size(size) == 0
    assert 4 <= size // patch_size(size) <= 16


def test_masked_pretraining_reaches_all_of_the_small_vit() -> None:
    vit = small_vit(1, 28)
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    masked = MaskedVisionTransformerTIMM(vit)
    assert masked.sequence_length == 50
    tokens = masked.encode(torch.randn(2, 1, 28, 28), idx_keep=torch.tensor([[0, 1, 2], [0, 4, 7]]))
    assert tokens.shape == (2, 3, 192)
    tokens.square().sum().backward()
    assert [name for name, weight in vit.named_parameters() if weight.requires_grad and weight.grad is None] == []
    assert before.keys() == vit.state_dict().keys()


def test_files_without_a_stem_have_the_original_one(tmp_path: Path) -> None:
    encoder = from_config({**recipe("resnet10t", size=32), "stem": "original"}, seed=1).eval()
    config = encoder.config()
    del config["stem"]
    save_model(tmp_path, encoder, config)
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(load_encoder(tmp_path).eval()(x), encoder(x))


def test_the_size_decides_on_the_stem_unless_it_is_named() -> None:
    assert [stem_for(size) for size in (28, 64, 65)] == ["small", "small", "original"]
    assert Encoder("resnet10t", 1, 32, [0.5], [0.5]).stem == "small"
    assert Encoder("resnet10t", 1, 32, [0.5], [0.5], "original").stem == "original"


def test_images_of_another_size_are_resized_before_they_are_normalised() -> None:
    encoder = from_config(recipe("small_cnn", size=28))
    images = torch.arange(256, dtype=torch.uint8)[:56].expand(2, 1, 56, 56)
    x = encoder.normalise(images)
    assert x.shape == (2, 1, 28, 28)
    # A ramp stays a ramp: between the edges, each pixel lies between the two columns that it stands for.
    torch.testing.assert_close(x[0, 0, 5, 2:-2], ((torch.arange(28) * 2 + 0.5) / 255 - 0.5)[2:-2] / 0.25)
    same = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(encoder.normalise(same), (same / 255 - 0.5) / 0.25)
    assert encoder.normalise(images[..., :20]).shape == (2, 1, 28, 28)
