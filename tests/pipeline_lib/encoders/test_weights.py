import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders.backbone import build_backbone
from pipeline_lib.encoders.encoder import from_config, save_model
from pipeline_lib.encoders.weights import load_pretrained, load_state, size_of, stem_of
from tests.pipeline_lib.encoders.toy import encoder_for, trained_resnet


def features_of(model: nn.Module, x: Tensor) -> Tensor:
    whole: Any = model
    return whole.forward_head(whole.forward_features(x), pre_logits=True)


WRAPPED = {
    "bare": lambda state: state,
    "lightning": lambda state: {"epoch": 3, "state_dict": {f"model.{key}": value for key, value in state.items()}},
    "distributed": lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
    "moco": lambda state: {
        "state_dict": {
            **{f"module.encoder_q.{key}": value for key, value in state.items()},
            **{f"module.encoder_k.{key}": value * 2 for key, value in state.items()},
            "module.queue": torch.zeros(8),
        }
    },
    "lightly": lambda state: {
        "state_dict": {f"backbone.{key}": value for key, value in state.items()} | {"projection.w": torch.ones(2)}
    },
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_a_torch_file_gives_its_features_to_the_encoder(wrap: Any, tmp_path: Path) -> None:
    model = trained_resnet()
    torch.save(wrap(model.state_dict()), tmp_path / "model.pth")
    encoder, x = encoder_for("resnet10t"), torch.randn(2, 3, 32, 32)
    assert "loaded" in load_pretrained(encoder, str(tmp_path / "model.pth"))
    torch.testing.assert_close(encoder(x), features_of(model, x))
    # A file of weights alone does not say how its images were normalised.
    assert encoder.mean.tolist() == [0.5] * 3


def test_a_safetensors_file_in_half_precision_becomes_float32(tmp_path: Path) -> None:
    model = trained_resnet()
    halves = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    save_file(halves, tmp_path / "model.safetensors")
    encoder, x = encoder_for("resnet10t"), torch.randn(2, 3, 32, 32)
    load_pretrained(encoder, str(tmp_path / "model.safetensors"))
    assert encoder(x).dtype == torch.float32
    torch.testing.assert_close(encoder(x), features_of(model, x), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("source", ["", "model.safetensors"])
def test_our_own_folder_brings_its_stem_and_its_normalisation(source: str, tmp_path: Path) -> None:
    given = from_config(
        {"encoder": "resnet10t", "channels": 1, "size": 32, "mean": [0.1], "std": [0.3], "stem": None}, seed=3
    ).eval()
    save_model(tmp_path, given, given.config())
    stem = stem_of(str(tmp_path / source))
    assert stem == "small"
    encoder = encoder_for("resnet10t", channels=1, size=96, stem=stem)
    load_pretrained(encoder, str(tmp_path / source))
    images = torch.randint(0, 256, (2, 1, 96, 96), dtype=torch.uint8)
    torch.testing.assert_close(encoder.mean, torch.tensor([0.1]))
    torch.testing.assert_close(encoder(encoder.normalise(images)), given(encoder.normalise(images)))


def test_a_folder_of_the_hub_brings_its_normalisation(tmp_path: Path) -> None:
    save_file(trained_resnet().state_dict(), tmp_path / "model.safetensors")
    spread = {"mean": [0.485, 0.456, 0.406], "std": [0.2, 0.3, 0.4]}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", "pretrained_cfg": spread}))
    assert stem_of(str(tmp_path)) == "original"
    colour, grey = encoder_for("resnet10t"), encoder_for("resnet10t", channels=1)
    load_pretrained(colour, str(tmp_path))
    load_pretrained(grey, str(tmp_path))
    torch.testing.assert_close(colour.mean, torch.tensor(spread["mean"]))
    torch.testing.assert_close(grey.mean, torch.tensor([0.449]))
    torch.testing.assert_close(grey.std, torch.tensor([0.3]))


def test_weights_are_of_the_size_that_their_config_says_or_timm_knows(tmp_path: Path) -> None:
    encoder = encoder_for("resnet10t")
    save_model(tmp_path / "own", encoder, {**encoder.config(), "size": 48})
    torch.save(trained_resnet().state_dict(), tmp_path / "model.pth")
    assert size_of(str(tmp_path / "own"), "resnet10t") == 48
    sizes = {"resnet18": 224, "inception_v3": 299, "small_cnn": None}
    assert {name: size_of(str(tmp_path / "model.pth"), name) for name in sizes} == sizes
    assert size_of("hub", "resnet18") == 224
    save_model(tmp_path / "own", encoder, {**encoder.config(), "size": "large"})
    assert size_of(str(tmp_path / "own"), "resnet10t") is None


def test_the_stem_of_a_file_is_read_from_its_first_convolution(tmp_path: Path) -> None:
    assert stem_of(None) is None
    assert stem_of("hub") == "original"
    for size, stem in ((32, "small"), (96, "original")):
        state = build_backbone("resnet18", 3, size).state_dict()
        save_file({f"backbone.{key}": value for key, value in state.items()}, tmp_path / "a.safetensors")
        assert stem_of(str(tmp_path / "a.safetensors")) == stem


@pytest.mark.parametrize("given", [1, 3, 4])
@pytest.mark.parametrize("wanted", [1, 2, 3, 7])
def test_the_first_convolution_keeps_its_sum_over_the_channels(given: int, wanted: int) -> None:
    backbone = build_backbone("small_cnn", wanted, 28)
    state = build_backbone("small_cnn", given, 28).state_dict()
    load_state(backbone, {key: value.clone() for key, value in state.items()}, "a", "small_cnn")
    first = backbone.state_dict()["0.weight"]
    assert first.shape == (16, wanted, 3, 3)
    if wanted == 1 or wanted % given == 0:
        torch.testing.assert_close(first.sum(dim=1), state["0.weight"].sum(dim=1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["layer1.0.conv1.weight", "bn1.running_var"])
def test_weights_that_are_not_finite_are_refused_and_none_is_loaded(key: str, value: float, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in trained_resnet().state_dict().items()}
    state[key].view(-1)[3] = value
    save_file(state, tmp_path / "a.safetensors")
    encoder = encoder_for("resnet10t")
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(UserError, match=rf"holds values that are not finite, 1 broken \({key}\): name the weights of"):
        load_pretrained(encoder, str(tmp_path / "a.safetensors"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert not encoder.pretrained
    # The classifier is left out, whatever it holds.
    state[key].view(-1)[3] = 1
    state["fc.weight"].fill_(value)
    save_file(state, tmp_path / "a.safetensors")
    load_pretrained(encoder, str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "convnext_atto"])
@pytest.mark.parametrize(("given", "wanted"), [(3, 1), (1, 3)])
def test_grey_images_give_the_features_they_gave_in_the_other_channels(
    name: str, given: int, wanted: int, tmp_path: Path
) -> None:
    trained = encoder_for(name, given, seed=5)
    save_file(trained.backbone.state_dict(), tmp_path / "a.safetensors")
    encoder = encoder_for(name, wanted)
    load_pretrained(encoder, str(tmp_path / "a.safetensors"))
    x = torch.randn(2, 1, 32, 32)
    expected = trained(x.expand(-1, given, -1, -1))
    torch.testing.assert_close(encoder(x.expand(-1, wanted, -1, -1)), expected, atol=1e-4, rtol=1e-3)


def test_position_embeddings_follow_the_size(tmp_path: Path) -> None:
    trained: Any = build_backbone("vit_tiny_patch16_224", 3, 96)
    # What is linear along the height stays so, whatever the number of patches.
    rows = torch.linspace(-1, 1, 6).repeat_interleave(6)
    with torch.no_grad():
        trained.pos_embed[0, 1:] = rows[:, None]
        trained.pos_embed[0, 0] = 9
    save_file(trained.state_dict(), tmp_path / "a.safetensors")
    encoder = encoder_for("vit_tiny_patch16_224", size=192)
    load_pretrained(encoder, str(tmp_path / "a.safetensors"))
    position = encoder.backbone.state_dict()["pos_embed"][0]
    assert position.shape[0] == 1 + 12 * 12
    assert (position[0] == 9).all()
    grid = position[1:, 0].reshape(12, 12)
    torch.testing.assert_close(grid, grid[:, :1].expand(12, 12))
    assert (grid[:, 0].diff() > 0).all()


def test_weights_that_do_not_fit_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a message cuts long paths short
    state = dict(trained_resnet().state_dict())
    for key in ("layer1.0.bn1.weight", "layer1.0.bn1.bias", "layer2.0.bn1.weight", "layer2.0.bn1.bias"):
        del state[key]
    state["layer9.weight"] = torch.zeros(2)
    state["layer1.0.conv1.weight"] = torch.zeros(3, 2, 1, 1)
    save_file(state, "a.safetensors")
    encoder = encoder_for("resnet10t")
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_pretrained(encoder, "a.safetensors")
    message = str(caught.value)
    assert message.startswith("weights_path is 'a.safetensors', which does not fit resnet10t: ")
    assert "4 missing (layer1.0.bn1.weight, layer1.0.bn1.bias, layer2.0.bn1.weight and 1 more)" in message
    assert "1 unexpected (layer9.weight)" in message
    assert "1 of another shape (layer1.0.conv1.weight 3x2x1x1, not 64x64x3x3)" in message
    assert "or set allow_partial to true to load the" in message
    assert "fc." not in message
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())

    said = load_pretrained(encoder, str(tmp_path / "a.safetensors"), partial=True)
    total = len(encoder.backbone.state_dict())
    assert f"loaded {total - 5} of the {total} weights" in said
    assert "4 missing" in said
    after = encoder.backbone.state_dict()
    assert torch.equal(after["layer3.0.conv1.weight"], state["layer3.0.conv1.weight"])
    assert torch.equal(after["layer1.0.bn1.weight"], before["backbone.layer1.0.bn1.weight"])


def test_partial_still_refuses_what_fits_nowhere(tmp_path: Path) -> None:
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="does not fit small_cnn"):
        load_pretrained(encoder_for("small_cnn"), str(tmp_path / "a.safetensors"), partial=True)


def test_a_folder_of_another_encoder_is_refused(tmp_path: Path) -> None:
    given = encoder_for("small_cnn")
    save_model(tmp_path, given, given.config())
    with pytest.raises(UserError, match=r"holds 'small_cnn': set encoder to that, not to resnet10t"):
        load_pretrained(encoder_for("resnet10t"), str(tmp_path))
