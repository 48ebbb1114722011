import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks.scratch import ROOT
from pipeline_lib.core.compute import resolve_device, resolve_hardware, seed_everything
from pipeline_lib.core.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)


def test_auto_takes_the_fastest_that_there_is(two_gpus: None) -> None:
    assert resolve_device("auto") == torch.device("cuda")


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_a_device_that_there_is_goes_by_its_name(name: str, two_gpus: None) -> None:
    assert resolve_device(name) == torch.device(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "cuda:-1",
        "cuda:2",
        "cuda:",
        "cuda:01",
        "cuda:²",
        "cuda:1:0",
        "CUDA",
        "gpu",
        "tpu",
        "cpu:1",
        "meta",
        "x" * 999,
    ],
)
def test_any_other_device_is_refused_in_one_short_sentence(name: str, two_gpus: None) -> None:
    with pytest.raises(UserError) as caught:
        resolve_device(name)
    said = str(caught.value)
    assert said.startswith("device is '") and said.endswith("set it to auto or to one of cuda, cpu") and len(said) < 200


def test_each_process_of_a_training_has_its_own_gpu(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device("cuda") == torch.device("cuda:1")
    assert resolve_device("cuda:0") == torch.device("cuda:0")


@pytest.mark.parametrize(
    ("device", "processes", "batch_size", "precision", "sentence"),
    [
        (CPU, 3, 100, "32-true", r"^batch_size is 100, which 3 devices cannot share equally: make it a multiple of 3$"),
        (torch.device("mps"), 2, 100, "32-true", r"^devices is 2, but a Mac has one GPU: set it to 1$"),
        (CPU, 1, 100, "16-mixed", r"^precision is 16-mixed, which needs a GPU: take bf16-mixed or 32-true$"),
    ],
)
def test_hardware_that_does_not_go_together_is_refused(
    device: torch.device, processes: int, batch_size: int, precision: str, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve_hardware(device, processes, batch_size, precision)
    resolve_hardware(CPU, 1, 100, "bf16-mixed")


def test_a_seed_fixes_every_generator_and_memory_is_not_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        drawn = []
        for _ in range(2):
            seed_everything(3)
            drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
        assert drawn[0] == drawn[1]
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True


SLOW = ("timm", "torchvision", "lightly", "lightning", "matplotlib", "torch._dynamo")


def test_stages_that_do_not_train_do_not_wait_for_what_trains() -> None:
    program = f"""
import sys, torch
from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.encoders.weights import load_pretrained
from pipeline_lib.views import augment, View
encoder = from_config(dict(encoder="small_cnn", channels=1, size=28, mean=[0.5], std=[0.5])).eval()
(view,) = augment(encoder)(View(min_scale=0.5, blur=0.5, hue=0.1))(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
with torch.no_grad():
    encoder(view)
print(*(name for name in {SLOW} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
