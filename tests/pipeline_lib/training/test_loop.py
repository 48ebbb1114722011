import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.heads.learner import HeadsLearner
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.strategies import STRATEGIES
from pipeline_lib.labels import KINDS
from pipeline_lib.methods import METHODS
from pipeline_lib.training import Batches, Hardware, checkpoints, fit, loop
from pipeline_lib.training.optimisers import make_optimizer, warmup_cosine
from pipeline_lib.training.probe import FeatureProbe
from pipeline_lib.views import View, augment
from tests.pipeline_lib.training.sets import random_images, stored


class Regression(nn.Module):
    """A learner with dropout, whose noise must not depend on where a run was interrupted."""

    def __init__(self, fail_at: int = -1, poison_at: int = -1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.steps, self.fail_at, self.poison_at = 0, fail_at, poison_at

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        self.steps += 1
        if self.steps == self.fail_at:
            raise KeyboardInterrupt
        loss = (self.layers(x).squeeze(1) - y).square().mean()
        return {"loss": loss * float("nan") if self.steps == self.poison_at else loss}


def data() -> dict[str, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(40, 3)
    return {"x": x, "y": x.sum(1)}


def train(learner: nn.Module, folder: Path, seed: int = 0, epochs: int = 4):
    return fit(
        learner,
        Batches(data(), 8, seed),
        name="toy",
        epochs=epochs,
        lr=0.05,
        weight_decay=0.0,
        hardware=Hardware(torch.device("cpu")),
        seed=seed,
        checkpoints=folder,
    )


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_training_lowers_the_loss_and_is_repeatable(tmp_path: Path) -> None:
    one, two = Regression(), Regression()
    history = train(one, tmp_path / "one", epochs=8)
    train(two, tmp_path / "two", epochs=8)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert list(history["epoch"]) == list(range(1, 9))
    assert same(one, two)


@pytest.mark.parametrize("fail_at", [6, 13])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path: Path, fail_at: int) -> None:
    whole = Regression()
    expected = train(whole, tmp_path / "whole")
    with pytest.raises(BaseException):  # noqa: B017  (Lightning turns the interrupt into an exit of its own)
        train(Regression(fail_at), tmp_path / "cut")
    resumed = Regression()
    history = train(resumed, tmp_path / "cut")
    assert resumed.steps < whole.steps
    assert history.equals(expected)
    assert same(whole, resumed)


def test_a_loss_that_is_lost_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss of toy is nan in epoch 3: lower lr \(the last good checkpoint stays"):
        train(Regression(poison_at=12), tmp_path)
    state = torch.load(checkpoints.found(tmp_path, "toy")[0], weights_only=True)["state_dict"]
    assert all(torch.isfinite(value).all() for value in state.values())


def test_a_loss_that_was_never_finite_is_not_blamed_on_the_learning_rate(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss of toy is nan before anything was learnt: look for .* \(nothing was"):
        train(Regression(poison_at=1), tmp_path)


@pytest.mark.parametrize("place", ["weight", "buffer"])
def test_weights_that_are_not_finite_are_named_before_training(tmp_path: Path, place: str) -> None:
    learner = Regression()
    tensor = learner.layers[3].weight if place == "weight" else learner.layers[1].running_mean
    with torch.no_grad():
        tensor.view(-1)[1] = float("nan")
    with pytest.raises(UserError, match=r"weights that toy starts from hold numbers that are not finite \(NaN\)"):
        train(learner, tmp_path)
    assert learner.steps == 0


def test_a_mask_of_minus_infinity_is_no_weight(tmp_path: Path) -> None:
    learner = Regression()
    learner.register_buffer("mask", torch.full((2, 2), float("-inf")))
    train(learner, tmp_path, epochs=1)


@pytest.mark.parametrize(
    "name", ["../../../../x", "a/b", ".", "\0", "x" * 300, "größe (mm)", "[0-9]*", "-", "", "CON", "a\nb"]
)
def test_a_name_of_a_user_is_no_path(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep/er/checkpoints"
    learner = Regression()
    settings = {"name": name, "epochs": 2, "lr": 0.05, "weight_decay": 0.0, "seed": 0, "checkpoints": folder}
    fit(learner, Batches(data(), 8, 0), hardware=Hardware(torch.device("cpu")), **settings)
    (first, second) = checkpoints.found(folder, name)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [second, first]
    assert re.fullmatch(r"[A-Za-z0-9_-]{9,49}-00000010\.ckpt", first.name)


def test_names_that_look_alike_as_files_are_two_runs() -> None:
    names = ["a.b", "a-b", "a/b", "A-b", "x" * 300, "x" * 301]
    stems = [checkpoints.stem(name) for name in names]
    assert len({stem.lower() for stem in stems}) == len(names)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, False),
        ({"MASTER_ADDR": "10.0.0.1"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"MASTER_ADDR": "10.0.0.1", "NODE_RANK": "1"}, True),
        ({"MASTER_ADDR": "10.0.0.1", "GROUP_RANK": "1", "RANK": "1"}, True),
        ({"SLURM_NODEID": "1"}, True),
    ],
)
def test_a_process_that_no_launcher_started_does_not_wait_for_other_machines(
    tmp_path: Path, variables: dict[str, str], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("MASTER_ADDR", "NODE_RANK", "GROUP_RANK", "RANK", "SLURM_NODEID"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    def started(**_: object) -> None:
        raise RuntimeError("started")

    monkeypatch.setattr(loop, "Trainer", started)
    expected = pytest.raises(RuntimeError, match="started")
    if not told:
        expected = pytest.raises(UserError, match=r"num_nodes is 2, but nothing says where .* or set num_nodes to 1$")
    with expected:
        fit(
            Regression(),
            Batches(data(), 8, 0),
            name="toy",
            epochs=1,
            lr=0.05,
            weight_decay=0.0,
            hardware=Hardware(torch.device("cpu"), num_nodes=2),
            seed=0,
            checkpoints=tmp_path,
        )


@pytest.mark.parametrize("learns", ["simclr", "heads"])
@pytest.mark.parametrize(("images", "batch_size"), [(2, 2), (2, 256), (3, 2)])
def test_a_handful_of_images_is_enough(tmp_path: Path, learns: str, images: int, batch_size: int) -> None:
    torch.manual_seed(0)
    encoder = Encoder("small_cnn", 1, 12, [0.5], [0.3])
    columns: dict[str, Tensor | Rows] = {"images_BCHW": stored(tmp_path, random_images(images, 12, 1))}
    learner: nn.Module
    if learns == "simclr":
        learner = METHODS["simclr"](encoder, augment(encoder))
    else:
        spec = KINDS["multiclass"].describe(np.array(["a", "b"], dtype=object))
        learner = HeadsLearner(MultiTask(encoder, {"shape": spec}), augment(encoder)(View()), STRATEGIES["all"])
        columns["label_0"] = torch.arange(images) % 2
    history = fit(
        learner,
        Batches(columns, batch_size, 0),
        name=learns,
        epochs=2,
        lr=1e-3,
        weight_decay=0.0,
        hardware=Hardware(torch.device("cpu")),
        seed=0,
        checkpoints=tmp_path,
        watch=FeatureProbe(encoder, columns["images_BCHW"]),
    )
    assert np.isfinite(history.to_numpy()).all()


@pytest.mark.parametrize("fail_at", [7, 9, 14])
def test_a_run_interrupted_within_an_epoch_goes_on_from_its_last_step(
    tmp_path: Path, fail_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0.0)
    whole = Regression()
    expected = train(whole, tmp_path / "whole")
    with pytest.raises(BaseException):  # noqa: B017
        train(Regression(fail_at), tmp_path / "cut")
    resumed = Regression()
    history = train(resumed, tmp_path / "cut")
    assert resumed.steps == whole.steps - (fail_at - 1)
    assert history.equals(expected)
    assert same(whole, resumed)


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Regression()
    expected = train(whole, tmp_path / "whole")
    with pytest.raises(BaseException):  # noqa: B017
        train(Regression(fail_at=18), tmp_path / "cut")
    latest, before = checkpoints.found(tmp_path / "cut", "toy")
    content = bytearray(latest.read_bytes())
    middle = len(content) // 2
    for position in range(middle // 2, middle, 97):
        content[position] ^= 0xFF
    latest.write_bytes({"torn": content[:middle], "flipped": content, "empty": b""}[damage])
    resumed = Regression()
    history = train(resumed, tmp_path / "cut")
    said = capsys.readouterr().out
    assert f"{latest} is damaged" in said
    assert f"going on from {before}" in said
    assert history.equals(expected)
    assert same(whole, resumed)


def test_a_learner_is_told_how_far_it_is_and_a_watch_adds_columns(tmp_path: Path) -> None:
    class Told(Regression):
        told: list[float] = []  # noqa: RUF012

        def begin_step(self, progress: float) -> None:
            self.told.append(progress)

    learner = Told()
    history = fit(
        learner,
        Batches(data(), 8, 0),
        name="toy",
        epochs=2,
        lr=0.05,
        weight_decay=0.0,
        hardware=Hardware(torch.device("cpu")),
        seed=0,
        checkpoints=tmp_path,
        watch=lambda: {"seen": float(len(learner.told))},
    )
    assert learner.told == [step / 10 for step in range(10)]
    assert history["seen"].tolist() == [5.0, 10.0]
    assert history.attrs["speed"]["images_per_second"] > 0


def test_the_learning_rate_follows_the_batch_and_the_schedule(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = make_optimizer("sgd", [weight], 1.0, 0.0)
    schedule = warmup_cosine(optimizer, 20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert all(one > two for one, two in pairwise(rates[2:]))
    assert 0 <= rates[-1] < 0.02

    def first_step(batch_size: int) -> float:
        learner = Regression()
        before = learner.layers[3].weight.detach().clone()
        fit(
            learner,
            Batches({name: value[:8] for name, value in data().items()}, batch_size, 0),
            name=f"toy{batch_size}",
            epochs=1,
            lr=0.05,
            weight_decay=0.0,
            hardware=Hardware(torch.device("cpu")),
            seed=0,
            checkpoints=tmp_path,
            optimizer="sgd",
        )
        return (learner.layers[3].weight - before).norm().item()

    # The same eight rows in one batch, of which twice as many would have been allowed.
    assert first_step(16) == pytest.approx(2 * first_step(8), rel=1e-4)


def test_biases_and_norms_are_not_decayed() -> None:
    optimizer = make_optimizer("adamw", Regression().parameters(), 0.1, 0.5)
    for group in optimizer.param_groups:
        assert all((parameter.ndim > 1) == (group["weight_decay"] == 0.5) for parameter in group["params"])
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.5}


@pytest.mark.parametrize(
    ("fits", "asked", "message"),
    [
        (5, 16, "does not hold a batch of 16 of toy: 4 fits, so set batch_size to 4$"),
        (2, 3, "does not hold a batch of 3 of toy: 2 fits, so set batch_size to 2$"),
        (1, 8, "does not hold the smallest batch of toy: choose a smaller encoder or image$"),
    ],
)
def test_running_out_of_memory_names_a_batch_that_fits(tmp_path: Path, fits: int, asked: int, message: str) -> None:
    class Hungry(Regression):
        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            if len(x) > fits:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(x, y)

    with pytest.raises(UserError, match=message):
        fit(
            Hungry(),
            Batches(data(), asked, 0),
            name="toy",
            epochs=1,
            lr=0.05,
            weight_decay=0.0,
            hardware=Hardware(torch.device("cpu")),
            seed=0,
            checkpoints=tmp_path,
        )
