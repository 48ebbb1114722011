from functools import partial

import pytest
import torch

from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.methods import METHODS
from pipeline_lib.views import make_view

CONFIG = {"encoder": "small_cnn", "channels": 1, "size": 16, "mean": [0.4], "std": [0.3]}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_finite_loss_that_reaches_every_weight_of_the_encoder(name: str) -> None:
    encoder = from_config(CONFIG)
    view = partial(make_view, mean=encoder.mean, std=encoder.std, min_scale=0.5, jitter=0.4)
    method = METHODS[name](encoder, view)
    values = method(torch.randint(0, 256, (16, 1, 16, 16), dtype=torch.uint8))
    values["loss"].backward()
    assert all(torch.isfinite(value) for value in values.values())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.backbone.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_to_tell_a_few_images_apart(name: str) -> None:
    torch.manual_seed(0)
    encoder = from_config(CONFIG)
    method = METHODS[name](encoder, encoder.normalise)
    images = torch.randint(0, 256, (32, 1, 16, 16), dtype=torch.uint8)
    optimizer = torch.optim.Adam(method.parameters(), 1e-3)
    losses = []
    for _ in range(15):
        loss = method(images)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
