import copy
import math
from collections.abc import Mapping

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from pipeline_lib.adapt import ADAPTERS
from pipeline_lib.adapt.adabn import BatchNorm
from pipeline_lib.adapt.mcc import class_confusion
from pipeline_lib.adapt.shot_im import entropy
from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.heads.model import MultiTask, predict

CONFIG = {"encoder": "small_cnn", "channels": 1, "size": 16, "mean": [0.4], "std": [0.3]}
SPECS = {"shape": {"kind": "multiclass", "classes": ["a", "b", "c"]}}


def images(num: int = 48, shift: int = 0) -> Tensor:
    torch.manual_seed(num)
    return (torch.randint(0, 128, (num, 1, 16, 16)) + shift).to(torch.uint8)


def train(learner: nn.Module, tensors: Mapping[str, Tensor]) -> pd.DataFrame:
    optimizer = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], 1e-3)
    losses = []
    for _ in range(10):
        loss = learner.train()(**tensors)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return pd.DataFrame({"epoch": range(len(losses)), "loss": losses})


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_moves_the_encoder_towards_the_target(name: str) -> None:
    torch.manual_seed(0)
    model = MultiTask(from_config(CONFIG), SPECS)
    before = copy.deepcopy(model)
    source = {"images_BCHW": images(40), "shape": torch.arange(40) % 3}
    history = ADAPTERS[name](model, images(shift=120), source, "shape", train)
    assert {"epoch", "loss"} <= set(history.columns)
    changed = predict(model, images(shift=120))["shape"] - predict(before, images(shift=120))["shape"]
    assert changed.abs().max() > 1e-3
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    if len(history):
        assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_adabn_takes_the_statistics_of_the_target_and_leaves_every_weight() -> None:
    model = MultiTask(from_config(CONFIG), SPECS)
    weights = [p.clone() for p in model.parameters()]
    target = images(64, shift=100)
    ADAPTERS["adabn"](model, target, {}, "shape", train, batch_size=64)
    first = next(module for module in model.modules() if isinstance(module, BatchNorm))
    with torch.no_grad():
        activations = model.encoder.backbone[0](model.encoder.normalise(target))
    torch.testing.assert_close(first.running_mean, activations.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(first.running_var, activations.var((0, 2, 3)), atol=1e-3, rtol=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_adabn_refuses_an_encoder_without_batch_normalisation() -> None:
    model = MultiTask(from_config({**CONFIG, "encoder": "vit_tiny_patch16_224", "size": 224}), SPECS)
    with pytest.raises(UserError, match="no batch normalisation"):
        ADAPTERS["adabn"](model, images(), {}, "shape", train)


def test_shot_leaves_the_heads_as_they_were() -> None:
    model = MultiTask(from_config(CONFIG), SPECS)
    head = copy.deepcopy(model.head("shape").state_dict())
    ADAPTERS["shot_im"](model, images(), {}, "shape", train)
    assert all(torch.equal(head[name], value) for name, value in model.head("shape").state_dict().items())


def test_entropy_runs_from_certain_to_uniform() -> None:
    values = entropy(torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]))
    assert values.tolist() == pytest.approx([0.0, math.log(3)], abs=1e-6)


def test_class_confusion_is_the_papers_sum() -> None:
    torch.manual_seed(0)
    outputs, temperature = torch.randn(7, 4), 2.5
    p = (outputs / temperature).softmax(1).double()
    weight = 1 + torch.exp((p * p.log()).sum(1))
    weight = 7 * weight / weight.sum()
    confusion = torch.zeros(4, 4, dtype=torch.float64)
    for j in range(4):
        for k in range(4):
            confusion[j, k] = sum(weight[i] * p[i, j] * p[i, k] for i in range(7))
    confusion /= confusion.sum(1, keepdim=True)
    expected = sum(confusion[j, k] for j in range(4) for k in range(4) if j != k) / 4
    assert class_confusion(outputs, temperature).item() == pytest.approx(expected.item(), rel=1e-5)
    certain = torch.eye(4).repeat(3, 1) * 1000
    assert class_confusion(certain, temperature).item() == pytest.approx(0, abs=1e-6)
