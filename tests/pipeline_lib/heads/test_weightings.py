"""Every weighting: what it makes of the losses of several labels, with and without all of them in a batch."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.heads.learner import HeadsLearner
from pipeline_lib.heads.strategies import STRATEGIES
from pipeline_lib.heads.weightings import WEIGHTINGS, Weighting, conflict
from pipeline_lib.heads.weightings.conflict import Conflict
from pipeline_lib.heads.weightings.uncertainty import Uncertainty
from pipeline_lib.heads.weightings.upgrad import project
from pipeline_lib.training import Batches, Hardware, fit
from tests.pipeline_lib.heads.test_heads import NAMES, make_columns, make_images, make_model

PLAIN = ("equal", "uncertainty")
ALL_KNOWN = torch.ones(3, dtype=torch.bool)
needs_torchjd = pytest.mark.skipif(importlib.util.find_spec("torchjd") is None, reason="torchjd is not installed")
EACH = [name if name in PLAIN else pytest.param(name, marks=needs_torchjd) for name in WEIGHTINGS]


class Toy(nn.Module):
    """A shared layer and three labels of unlike sizes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Linear(6, 4)
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(3))
        self.x, self.y = torch.randn(8, 6), torch.randn(3, 8, 1)

    def losses(self) -> Tensor:
        z = torch.tanh(self.shared(self.x))
        return torch.stack(
            [c * ((h(z) - y) ** 2).mean() for c, h, y in zip((1, 9, 0.1), self.heads, self.y, strict=True)]
        )

    def gradients(self, weighting: Weighting, known: Tensor = ALL_KNOWN) -> tuple[Tensor, list[Tensor]]:
        """Return the gradient of the shared layer, and those of the heads."""
        self.zero_grad()
        torch.manual_seed(1)
        weighting(self.losses() * known, known, list(self.shared.parameters())).backward()
        return flat(self.shared.parameters()), [flat(head.parameters()) for head in self.heads]


def flat(parameters: Any) -> Tensor:
    return torch.cat(
        [torch.zeros_like(one).flatten() if one.grad is None else one.grad.flatten() for one in parameters]
    )


@pytest.mark.parametrize("name", EACH)
def test_one_label_or_labels_that_agree_make_the_mean(name: str) -> None:
    toy, weighting = Toy(), WEIGHTINGS[name](3)
    first = toy.losses()[0]
    expected = torch.cat([one.flatten() for one in torch.autograd.grad(first, list(toy.shared.parameters()))])
    shared = list(toy.shared.parameters())
    loss = weighting(toy.losses()[:1].expand(3) * 1.0, ALL_KNOWN, shared)
    torch.testing.assert_close(loss, first)
    toy.zero_grad()
    loss.backward()
    torch.testing.assert_close(flat(shared), expected, rtol=1e-4, atol=1e-6)
    alone, _ = toy.gradients(weighting, torch.tensor([True, False, False]))
    torch.testing.assert_close(alone, expected / 3, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", EACH)
def test_a_label_without_a_value_changes_nothing_about_the_others(name: str) -> None:
    toy = Toy()
    known = torch.tensor([True, True, False])
    three, heads = toy.gradients(WEIGHTINGS[name](3), known)
    assert not heads[2].any()
    toy.zero_grad()
    torch.manual_seed(1)
    WEIGHTINGS[name](2)(toy.losses()[:2], ALL_KNOWN[:2], list(toy.shared.parameters())).backward()
    torch.testing.assert_close(three, flat(toy.shared.parameters()) * 2 / 3, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", EACH)
def test_a_batch_without_any_label_moves_nothing(name: str) -> None:
    shared, heads = Toy().gradients(WEIGHTINGS[name](3), ~ALL_KNOWN)
    assert not shared.any() and not torch.cat(heads).any()


@needs_torchjd
@pytest.mark.parametrize(
    ("name", "aggregator", "times"), [("upgrad", "UPGrad", 1), ("pcgrad", "PCGrad", 1 / 3), ("mgda", "MGDA", 1)]
)
def test_gradients_are_those_of_torchjd(name: str, aggregator: str, times: float) -> None:
    from torchjd import aggregation, autojac

    toy = Toy()
    shared, heads = toy.gradients(WEIGHTINGS[name](3))
    toy.zero_grad()
    z = torch.tanh(toy.shared(toy.x))
    losses = [c * ((h(z) - y) ** 2).mean() for c, h, y in zip((1, 9, 0.1), toy.heads, toy.y, strict=True)]
    torch.manual_seed(1)
    parameters = list(toy.shared.parameters())
    own = [list(head.parameters()) for head in toy.heads]
    autojac.mtl_backward(losses, features=z, tasks_params=own, shared_params=parameters, retain_graph=True)
    options = {"projector": project} if name == "upgrad" else {}
    autojac.jac_to_grad(parameters, getattr(aggregation, aggregator)(**options))
    torch.testing.assert_close(shared, flat(parameters) * times, rtol=1e-3, atol=1e-5)
    for ours, head in zip(heads, toy.heads, strict=True):
        torch.testing.assert_close(ours, flat(head.parameters()) / 3, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", [lambda g: torch.tensor([0.2, 0.5, 0.3]), lambda g: 1 / g.diagonal().sqrt()])
def test_weights_are_those_of_the_rule_in_the_encoder_and_equal_in_heads(rule: Callable[[Tensor], Tensor]) -> None:
    toy = Toy()
    parameters = list(toy.shared.parameters())
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]) for loss in separate(toy)]
    shared, heads = toy.gradients(Conflict(rule))
    jacobian = torch.stack(rows)
    torch.testing.assert_close(shared, rule(jacobian @ jacobian.T) @ jacobian)
    _, equal = toy.gradients(WEIGHTINGS["equal"](3))
    torch.testing.assert_close(heads, equal)


def separate(toy: Toy) -> Sequence[Tensor]:
    return [toy.losses()[number] for number in range(3)]


@pytest.mark.parametrize("seed", range(20))
def test_a_projection_goes_against_no_gradient_and_is_the_nearest(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    num = 2 + seed % 4
    jacobian = torch.randn(num, 6, generator=rng, dtype=torch.float64)
    jacobian[:, 0] -= 0.5
    products, start = jacobian @ jacobian.T, torch.eye(num, dtype=torch.float64)
    for row, weights in zip(start, project(start, products), strict=True):
        moved = jacobian.T @ weights
        slack = jacobian @ moved
        assert slack.min() > -1e-9, "it goes against none"
        # What is added is added of those alone that it would have gone against.
        assert (weights - row).min() >= 0 and ((weights - row) * slack).abs().max() < 1e-9


def test_uncertainty_is_the_likelihood_of_its_authors() -> None:
    weighting, losses = Uncertainty(3), torch.tensor([0.5, 2.0, 7.0])
    torch.testing.assert_close(weighting(losses, ALL_KNOWN, []), losses.mean())
    with torch.no_grad():
        weighting.log_variance += torch.tensor([0.3, -1.0, 2.0])
    variance = weighting.log_variance.detach().exp()
    # Twice the sum over labels of loss / (2 variance) + log sigma, as a mean.
    expected = 2 * (losses / (2 * variance) + variance.sqrt().log()).mean()
    torch.testing.assert_close(weighting(losses, ALL_KNOWN, []), expected)
    with torch.no_grad():
        weighting.log_variance.copy_(losses.log())
    weighting.zero_grad()
    weighting(losses, ALL_KNOWN, []).backward()
    assert weighting.log_variance.grad is not None
    torch.testing.assert_close(weighting.log_variance.grad, torch.zeros(3), atol=1e-6, rtol=0)


def test_uncertainty_of_a_label_that_a_batch_lacks_stays() -> None:
    weighting = Uncertainty(2)
    weighting(torch.tensor([1.5, 0.0]), torch.tensor([True, False]), []).backward()
    assert weighting.log_variance.grad is not None
    assert weighting.log_variance.grad[0] != 0 and weighting.log_variance.grad[1] == 0


@pytest.mark.parametrize("name", sorted(set(WEIGHTINGS) - set(PLAIN)))
def test_what_is_not_installed_is_said_with_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflict, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"^weighting needs torchjd, which .* lacks: .*\[multitask\].* or choose equal"):
        WEIGHTINGS[name](2)


def train(folder: Path, name: str, stop_after: int | None = None) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Train a model of every kind of label, 60% of the values missing; return its weights and history."""
    torch.manual_seed(0)
    model = make_model()
    learner = HeadsLearner(
        model, lambda images: [model.encoder.normalise(images)], STRATEGIES["all"], WEIGHTINGS[name](len(NAMES))
    )
    forward, calls = learner.forward, SimpleNamespace(count=0)

    def counted(*inputs: Any, **columns: Any) -> Any:
        calls.count += 1
        if stop_after is not None and calls.count > stop_after:
            raise KeyboardInterrupt
        return forward(*inputs, **columns)

    learner.forward = counted
    columns = {"images_BCHW": make_images(24), **make_columns(24, missing=0.6)}
    history = fit(
        learner, Batches(columns, 6, 3), name=name, epochs=3, lr=0.02, weight_decay=1e-4,
        hardware=Hardware(torch.device("cpu")), seed=3, checkpoints=folder,
    )  # fmt: skip
    parameters = {name: one.detach().clone() for name, one in learner.named_parameters()}
    assert learner.affinity is not None
    return parameters, history.assign(measured=len(learner.affinity.found))


@pytest.mark.parametrize("name", EACH)
def test_a_training_that_was_stopped_ends_in_the_same_weights(name: str, tmp_path: Path) -> None:
    whole, history = train(tmp_path / "whole", name)
    assert np.isfinite(history.to_numpy()).all()
    with pytest.raises(BaseException):  # noqa: B017 - as a kill would end it
        train(tmp_path / "cut", name, stop_after=10)
    resumed, _ = train(tmp_path / "cut", name)
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    again, _ = train(tmp_path / "again", name)
    assert all(torch.equal(value, again[key]) for key, value in whole.items())
