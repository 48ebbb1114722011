"""Every strategy: what it trains and how fast, what stays as it is, and what it adds to the loss."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders.blocks import blocks_of
from pipeline_lib.encoders.encoder import Encoder, from_config
from pipeline_lib.heads.learner import HeadsLearner
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.strategies import STRATEGIES, Strategy
from pipeline_lib.heads.strategies.low_rank import RANK
from pipeline_lib.training.optimisers import make_optimizer

SIZE = 16
SPEC = {"kind": "multiclass", "classes": ["a", "b"]}
ON_ALL = [name for name in STRATEGIES if STRATEGIES[name].layers is None]  # whatever the encoder
ENCODERS = {"small_cnn": 4, "small_vit": 7, "resnet10t": 5, "tf_efficientnet_lite0": 17}


def make_encoder(name: str = "small_cnn") -> Encoder:
    return from_config({"encoder": name, "channels": 1, "size": SIZE, "mean": [0.4], "std": [0.3], "stem": None}, 0)


def make_learner(strategy: Strategy, name: str = "small_cnn") -> HeadsLearner:
    encoder = make_encoder(name)
    model = MultiTask(encoder, {"what": SPEC})
    return HeadsLearner(model, lambda images: [encoder.normalise(images)], strategy).train()


def batch(num: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num, 1, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    return {"images_BCHW": images, "label_0": torch.arange(num) % 2}


@pytest.mark.parametrize(("name", "num"), ENCODERS.items())
def test_every_parameter_is_in_one_block(name: str, num: int) -> None:
    encoder = make_encoder(name)
    blocks = blocks_of(encoder)
    assert len(blocks) == num
    numbers = [id(one) for block in blocks for one in block]
    assert sorted(numbers) == sorted(id(one) for one in encoder.parameters())
    first, last = (next(iter(encoder.parameters())), list(encoder.parameters())[-1])
    assert any(one is first for one in blocks[0]) and any(one is last for one in blocks[-1])


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_has_its_own_name_and_a_rate_for_each_block(name: str) -> None:
    strategy = STRATEGIES[name]
    assert strategy.name == name
    for num in range(strategy.least_blocks, 20):
        rates = list(strategy.rates(num))
        assert len(rates) == num and rates == sorted(rates) and all(0 <= rate <= 1 for rate in rates)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", ON_ALL)
def test_only_blocks_with_a_rate_move_and_the_others_keep_their_statistics(name: str, encoder: str) -> None:
    learner = make_learner(STRATEGIES[name], encoder)
    blocks, rates = blocks_of(learner.model.encoder), STRATEGIES[name].rates(ENCODERS[encoder])
    before, state = copy.deepcopy(blocks), copy.deepcopy(learner.model.encoder.state_dict())
    head = learner.model.head("what").weight.clone()
    optimizer = make_optimizer("sgd", learner.parameters(), 0.1, 0.0, learner.rates)
    for _ in range(2):
        optimizer.zero_grad()
        learner(**batch())["loss"].backward()
        optimizer.step()
    moved = [
        any(not torch.equal(*pair) for pair in zip(*both, strict=True)) for both in zip(before, blocks, strict=True)
    ]
    assert moved == [rate > 0 for rate in rates]
    assert not torch.equal(head, learner.model.head("what").weight)
    statistics = {key for key in state if key.endswith(("running_mean", "running_var"))}
    same = {key for key in statistics if torch.equal(state[key], learner.model.encoder.state_dict()[key])}
    if not any(rates) or STRATEGIES[name].heads_first:
        assert same == statistics
    elif all(rates):
        assert not same
    elif statistics:
        assert same and same != statistics


def test_heads_that_were_fitted_first_are_trained_on_the_features_they_were_fitted_to() -> None:
    encoder = make_learner(STRATEGIES["lp_ft"]).train().model.encoder
    pictures = torch.randn(8, 1, 28, 28)
    seen = encoder(pictures)
    assert torch.equal(seen, encoder.eval()(pictures))


@pytest.mark.parametrize("name", ON_ALL)
def test_each_block_learns_at_its_share_of_the_rate(name: str) -> None:
    learner = make_learner(STRATEGIES[name])
    blocks, rates = blocks_of(learner.model.encoder), STRATEGIES[name].rates(4)
    optimizer = make_optimizer("adamw", learner.parameters(), 0.01, 0.5, learner.rates)
    found = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    for block, rate in zip(blocks, rates, strict=True):
        expected = pytest.approx(0.01 * rate) if rate else None
        assert all(found.get(id(one)) == expected for one in block)
    assert all(found[id(one)] == 0.01 for one in learner.model.heads.parameters())
    decayed = {id(one) for group in optimizer.param_groups if group["weight_decay"] for one in group["params"]}
    assert decayed == {id(one) for one in learner.parameters() if one.requires_grad and one.ndim > 1}


def test_layers_learn_the_faster_the_nearer_they_are_to_the_heads() -> None:
    rates = list(STRATEGIES["layer_decay"].rates(4))
    assert rates == pytest.approx([0.75**4, 0.75**3, 0.75**2, 0.75])


def test_the_pull_is_half_the_squared_distance_from_the_start() -> None:
    strategy = replace(STRATEGIES["l2_sp"], pull=0.3)
    learner, plain = make_learner(strategy), make_learner(STRATEGIES["all"])
    plain.model.load_state_dict(learner.model.state_dict())
    torch.testing.assert_close(learner(**batch())["loss"], plain(**batch())["loss"], msg="nothing has moved")
    start = torch.cat([one.detach().flatten() for one in learner.model.encoder.parameters()])
    for model in (learner.model, plain.model):
        with torch.no_grad():
            for one in model.encoder.parameters():
                one += 0.01
    now = torch.cat([one.detach().flatten() for one in learner.model.encoder.parameters()])
    expected = plain(**batch())["loss"] + 0.3 / 2 * (now - start).square().sum()
    torch.testing.assert_close(learner(**batch())["loss"], expected)
    assert not any(name.startswith("start") for name in learner.state_dict()), "a checkpoint has no need of it"


def test_the_pull_is_towards_the_start() -> None:
    learner = make_learner(replace(STRATEGIES["l2_sp"], pull=1e3))
    parameter = next(learner.model.encoder.parameters())
    start = parameter.detach().clone()
    with torch.no_grad():
        parameter += 0.5
    learner(**batch())["loss"].backward()
    assert parameter.grad is not None
    torch.testing.assert_close(parameter.grad.sign(), (parameter - start).detach().sign())


class Plain(nn.Module):
    """One that nothing is known of."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(SIZE * SIZE, 4), nn.Linear(4, 4)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(x_BCHW.flatten(1)))
        return found


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_an_encoder_cannot_do_is_refused_in_a_sentence(name: str) -> None:
    encoder = make_encoder()
    encoder.backbone, encoder.name = Plain(), "mine"
    assert len(blocks_of(encoder)) == 1
    if STRATEGIES[name].least_blocks == 1 and STRATEGIES[name].layers is None:
        STRATEGIES[name].refuse(encoder)
        assert len(STRATEGIES[name].rated(encoder)) == 1
        return
    with pytest.raises(UserError, match=rf"^strategies name {name}, .* but 'mine' is .*: leave {name} out, or choose"):
        STRATEGIES[name].refuse(encoder)


@pytest.mark.parametrize(
    "make", [lambda: nn.Sequential(nn.ReLU(), nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))]
)
def test_a_sequence_is_cut_before_each_layer_that_multiplies(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    encoder = make_encoder()
    encoder.backbone = make()
    assert [len(block) for block in blocks_of(encoder)] == [4, 2]


@pytest.mark.parametrize("name", ["small_vit", "vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_low_rank_updates_alone_are_trained_and_end_up_in_the_weights(name: str) -> None:
    strategy, layers = STRATEGIES["low_rank"], STRATEGIES["low_rank"].layers
    assert layers is not None
    before = make_encoder(name)
    strategy.refuse(before)
    learner = make_learner(strategy, name)
    encoder = learner.model.encoder
    images = batch()["images_BCHW"]
    torch.testing.assert_close(encoder(encoder.normalise(images)), before(before.normalise(images)), msg="0 at first")
    optimizer = make_optimizer("sgd", learner.parameters(), 0.5, 0.0, learner.rates)
    for _ in range(2):
        optimizer.zero_grad()
        learner(**batch())["loss"].backward()
        optimizer.step()
    trained = encoder(encoder.normalise(images))
    layers.merge(encoder)
    torch.testing.assert_close(encoder(encoder.normalise(images)), trained)
    old, new = before.state_dict(), encoder.state_dict()
    assert set(old) == set(new), "what is kept is a plain encoder"
    moved = {key for key, value in old.items() if not torch.equal(value, new[key])}
    linear = {f"backbone.{key}.weight" for key, one in before.backbone.named_modules() if isinstance(one, nn.Linear)}
    assert moved == linear and linear
    assert all(torch.linalg.matrix_rank(new[key] - old[key], rtol=1e-4) <= RANK for key in moved)


def test_convolutions_have_no_low_rank_updates() -> None:
    for name in ("small_cnn", "resnet10t", "tf_efficientnet_lite0"):
        with pytest.raises(UserError, match=rf"^strategies name low_rank, .* but '{name}' is none: .* small_vit or"):
            STRATEGIES["low_rank"].refuse(make_encoder(name))
