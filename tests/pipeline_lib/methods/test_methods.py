import pytest
import torch

from pipeline_lib.core.errors import UserError
from pipeline_lib.methods import METHODS, kept_encoder
from pipeline_lib.methods.views import encode, local_view_size
from tests.pipeline_lib.methods.sets import encoder_for, make_batch, make_encoder, make_method, step, unchanged


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 16)])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_finite_loss_that_reaches_every_weight_of_the_encoder(
    name: str, channels: int, size: int
) -> None:
    method = make_method(name, channels=channels, size=size)
    batch = make_batch(name, channels=channels, size=size)
    optimizer = torch.optim.Adam(method.parameters(), 1e-3)
    for progress in (0.0, 0.3, 0.6):
        values = step(method, optimizer, batch, progress)
        assert all(value.ndim == 0 and torch.isfinite(value) for value in values.values())
    trained = [p for p in method.encoder.parameters() if p.requires_grad]
    assert len(trained) > 1
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_in_half_precision(name: str) -> None:
    method = make_method(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method(**make_batch(name))["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in method.encoder.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_shows_how_far_projections_spread_if_it_has_any(name: str) -> None:
    values = make_method(name)(**make_batch(name))
    assert ("projection_std" in values) == (name not in {"mae", "supervised"})
    assert all(not value.requires_grad for key, value in values.items() if key != "loss")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_from_a_few_images(name: str) -> None:
    torch.manual_seed(0)
    encoder = encoder_for(name)
    method = METHODS[name](encoder, unchanged(encoder), **({"memory_bank_size": 32} if name == "moco" else {}))
    optimizer = torch.optim.Adam(method.parameters(), 1e-3)
    batch = make_batch(name, num=32)
    losses = [step(method, optimizer, batch, 0.1)["loss"].item() for _ in range(15)]
    # The first task is easier: MoCo's queue is random, DINO's centre not where the outputs are.
    assert losses[-1] < losses[1 if name in {"moco", "dino"} else 0]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_goes_on_from_its_state_as_if_nothing_had_been(name: str) -> None:
    batch = make_batch(name)
    options = {"memory_bank_size": 64} if name == "moco" else {}
    method, fresh = make_method(name, options=options), make_method(name, seed=1, options=options)
    optimizer = torch.optim.SGD(method.parameters(), 0.05)
    for i in range(4):
        if i == 2:
            fresh.load_state_dict({key: value.clone() for key, value in method.state_dict().items()})
            other = torch.optim.SGD(fresh.parameters(), 0.05)
        torch.manual_seed(i)
        values = step(method, optimizer, batch, i / 4)
        if i >= 2:
            torch.manual_seed(i)
            again = step(fresh, other, batch, i / 4)
            assert all(torch.equal(value, again[key]) for key, value in values.items())
    state = fresh.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in method.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_nothing_changes_the_encoder_between_the_constructor_and_the_first_step(name: str) -> None:
    method = make_method(name)
    start = {key: value.clone() for key, value in method.encoder.state_dict().items()}
    kept = kept_encoder(method).state_dict()
    assert all(torch.equal(kept[key], value) for key, value in start.items())
    if hasattr(method, "begin_step"):
        method.begin_step(0.0)
    assert all(torch.equal(method.encoder.state_dict()[key], value) for key, value in start.items())


@pytest.mark.parametrize("name", METHODS)
def test_dino_hands_on_its_teacher_and_the_others_what_they_train(name: str) -> None:
    method = make_method(name)
    step(method, torch.optim.SGD(method.parameters(), 0.1), make_batch(name), 0.0)
    assert kept_encoder(method) is (method.teacher_encoder if name == "dino" else method.encoder)
    assert not any(key.startswith("kept") for key in method.state_dict())
    # What is handed on is written as the encoder is.
    assert kept_encoder(method).state_dict().keys() == make_method(name).encoder.state_dict().keys()


@pytest.mark.parametrize(("size", "local"), [(224, 96), (28, 12), (32, 12), (16, 8)])
def test_local_crops_are_three_sevenths_of_the_view(size: int, local: int) -> None:
    assert local_view_size(make_encoder(size=size), None) == local
    assert local_view_size(make_encoder(size=size), 10) == 10


def test_an_encoder_that_takes_no_smaller_images_is_refused_for_local_crops() -> None:
    encoder = make_encoder()
    encoder.backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16 * 16, 4))
    with pytest.raises(UserError, match=r"^encoder is 'small_cnn', which does not take local crops of 8 px"):
        local_view_size(encoder, None)


def test_views_of_several_sizes_give_features_in_their_order() -> None:
    encoder = make_encoder().eval()
    views = [torch.randn(4, 1, size, size) for size in (16, 16, 8, 8, 8)]
    with torch.no_grad():
        expected = torch.cat([encoder(view) for view in views])
        torch.testing.assert_close(encode(encoder, views), expected)
