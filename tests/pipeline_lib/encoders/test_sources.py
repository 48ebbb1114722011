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
from pipeline_lib.encoders.weights import load_pretrained
from tests.pipeline_lib.encoders.toy import encoder_for, trained_resnet

PLACE = "pretrain.weights in params.yaml"


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
    with pytest.raises(UserError, match="no weights for small_cnn"):
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
