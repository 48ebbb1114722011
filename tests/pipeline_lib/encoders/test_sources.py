import json
import os
import pickle
from argparse import Namespace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders.backbone import build_backbone
from pipeline_lib.encoders.encoder import save_model
from pipeline_lib.encoders.weights import load_pretrained, stem_of
from tests.pipeline_lib.encoders.toy import encoder_for, trained_resnet

PLACE = "weights_path is "


class Trap:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("sprung"),))


def write_sources(folder: Path) -> None:
    (folder / "garbage.safetensors").write_bytes(b"\xff" * 64)
    (folder / "garbage.pth").write_bytes(b"no weights at all")
    (folder / "empty.pt").write_bytes(b"")
    torch.save(trained_resnet().state_dict(), folder / "cut.pth")
    (folder / "cut.pth").write_bytes((folder / "cut.pth").read_bytes()[:5000])
    torch.save({"state_dict": {"a": torch.zeros(1)}, "trap": Trap()}, folder / "trap.ckpt")
    (folder / "plain.bin").write_bytes(pickle.dumps({"trap": Trap()}, protocol=2))
    torch.save({"state_dict": {"a": torch.zeros(1)}, "options": Namespace(lr=1)}, folder / "options.ckpt")
    torch.save([1, 2], folder / "list.pt")
    torch.save({"epoch": 3, 0: torch.zeros(1)}, folder / "epoch.pt")
    (folder / "weights.h5").write_bytes(b"x")
    (folder / "folder").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{")
    save_file({"a": torch.zeros(1)}, folder / "broken" / "model.safetensors")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("absent.pth", "does not exist"),
        ("garbage.safetensors", "broken or not a file of weights"),
        ("garbage.pth", "broken or not a file of weights"),
        ("empty.pt", "broken or not a file of weights"),
        ("cut.pth", "broken or not a file of weights"),
        ("trap.ckpt", "could run any code"),
        ("plain.bin", "could run any code"),
        ("options.ckpt", "could run any code"),
        ("list.pt", "no weights by name"),
        ("epoch.pt", "no weights by name"),
        ("weights.h5", "ends in .safetensors, .pt"),
        ("folder", "without model.safetensors and config.json"),
        ("broken", "config.json is broken"),
    ],
)
def test_a_source_that_cannot_be_read_is_told_in_one_sentence(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sources(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        load_pretrained(encoder_for("small_cnn"), source)
    assert str(caught.value).startswith(PLACE)
    assert "\n" not in str(caught.value)
    assert not Path("sprung").exists()


OURS = {"encoder": "small_cnn", "channels": 1, "size": 28, "mean": [0.5], "std": [0.2], "stem": "small"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ([], "is not a mapping"),
        (None, "is not a mapping"),
        ({}, "does not name its encoder"),
        ({**OURS, "encoder": 3}, "does not name its encoder"),
        ({"architectures": ["ResNet"]}, "does not name its encoder"),
        ({**OURS, "stem": "tiny"}, "has the stem 'tiny', which is not one of small, original"),
        ({**OURS, "stem": ["small"]}, "has the stem"),
        ({**OURS, "mean": None}, "has the mean None and the std"),
        (
            {key: value for key, value in OURS.items() if key not in ("mean", "std")},
            "has the mean None and the std None",
        ),
        ({**OURS, "mean": "0.5"}, "has the mean '0.5'"),
        ({**OURS, "mean": []}, "has the mean"),
        ({**OURS, "std": ["a"]}, "has .* the std"),
        ({**OURS, "mean": [float("nan")]}, r"has the mean \[nan\]"),
        ({**OURS, "mean": [127.5]}, r"has the mean \[127.5\] and .* are not a share in 0-1 for each channel"),
        ({**OURS, "std": [10**400]}, "has .* the std"),
        ({**OURS, "mean": [0.5] * 3}, "has the mean"),
        ({**OURS, "mean": [0.5] * 10**6}, "has the mean"),
        ({"architecture": "small_cnn", "pretrained_cfg": 3}, "has a pretrained_cfg that is not a mapping"),
        ({"architecture": "small_cnn", "pretrained_cfg": {"mean": 3, "std": 1}}, "has the mean 3 and the std 1"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_folder_whose_config_is_wrong_is_told_in_one_sentence(config: object, words: str, tmp_path: Path) -> None:
    encoder = encoder_for("small_cnn", channels=1)
    save_model(tmp_path, encoder, encoder.config())
    (tmp_path / "config.json").write_text(json.dumps(config))
    for attempt in (lambda: load_pretrained(encoder, str(tmp_path)), lambda: stem_of(str(tmp_path))):
        with pytest.raises(UserError, match=rf"whose config\.json {words}") as caught:
            attempt()
        assert str(caught.value).startswith(PLACE) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("text", [b"{", b"", b"\xff\xfe", b"[" * 10**5], ids=["cut", "empty", "binary", "deep"])
def test_a_folder_whose_config_is_no_json_is_told_in_one_sentence(text: bytes, tmp_path: Path) -> None:
    encoder = encoder_for("small_cnn", channels=1)
    save_model(tmp_path, encoder, encoder.config())
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(UserError, match=r"whose config\.json is broken"):
        load_pretrained(encoder, str(tmp_path))


@pytest.mark.parametrize(
    "source", ["", ".", "~nobody-of-that-name/a.pth", "a\0b.pth", "x" * 5000 + ".pth", "a.pth/b.pth"]
)
def test_a_path_that_leads_nowhere_is_told_in_one_short_sentence(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for attempt in (lambda: load_pretrained(encoder_for("small_cnn"), source), lambda: stem_of(source)):
        with pytest.raises(UserError) as caught:
            attempt()
        assert str(caught.value).startswith(PLACE) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
@pytest.mark.parametrize("locked", [".", "model.safetensors", "config.json"])
def test_what_may_not_be_read_is_told_in_one_sentence(locked: str, tmp_path: Path) -> None:
    encoder = encoder_for("small_cnn", channels=1)
    folder = tmp_path / "given"
    save_model(folder, encoder, encoder.config())
    (folder / locked).chmod(0)
    try:
        with pytest.raises(UserError, match=r"which cannot be read \(Permission denied\): mend its permissions"):
            load_pretrained(encoder, str(folder))
    finally:
        (folder / locked).chmod(0o700)


@pytest.mark.parametrize("method", ["is_file", "read_text", "open"])
def test_a_file_that_the_system_refuses_is_told_in_one_sentence(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_for("small_cnn", channels=1)
    save_model(tmp_path, encoder, encoder.config())

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(UserError, match=r"which cannot be read \(Permission denied\): mend its permissions"):
        load_pretrained(encoder, str(tmp_path))


def test_the_hub_may_be_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("Name or service not known\nmore of it")

    encoder = encoder_for("resnet10t")
    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(
        UserError,
        match=r"'hub', which cannot be reached \(Name or service not known\): check the network, or name a file",
    ):
        load_pretrained(encoder, "hub")
    with pytest.raises(UserError, match=r"^weights is 'hub', which has no weights for small_cnn: .* to random$"):
        load_pretrained(encoder_for("small_cnn"), "hub")


def test_the_hub_brings_its_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, pretrained: bool, num_classes: int, in_chans: int) -> nn.Module:
        assert (name, pretrained, num_classes, in_chans) == ("resnet10t", True, 0, 1)
        return trained

    encoder, trained = encoder_for("resnet10t", channels=1), build_backbone("resnet10t", 1, 32, "original").eval()
    monkeypatch.setattr(timm, "create_model", fetch)
    load_pretrained(encoder, "hub")
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(encoder(x), trained(x))
    torch.testing.assert_close(encoder.mean, torch.tensor([sum(timm.data.IMAGENET_DEFAULT_MEAN) / 3]))
