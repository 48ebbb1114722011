from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.training import Batches, fit


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
        device=torch.device("cpu"),
        seed=seed,
        checkpoints=folder,
    )


def test_training_lowers_the_loss_and_is_repeatable(tmp_path: Path) -> None:
    one, two = Regression(), Regression()
    history = train(one, tmp_path / "one", epochs=8)
    train(two, tmp_path / "two", epochs=8)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert list(history["epoch"]) == list(range(1, 9))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


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
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_a_loss_that_is_lost_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss of toy is nan in epoch 3.*checkpoint of epoch 2 stays"):
        train(Regression(poison_at=12), tmp_path)
    state = torch.load(tmp_path / "toy.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(value).all() for value in state.values())


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    batches = Batches({"x": torch.arange(32)}, 8, seed=0)
    first = torch.cat([batch["x"] for batch in batches])
    again = torch.cat([batch["x"] for batch in batches])
    batches.set_epoch(1)
    second = torch.cat([batch["x"] for batch in batches])
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(32))


def test_weights_draw_rows_in_their_proportion() -> None:
    weights = torch.tensor([1.0, 3.0]).repeat_interleave(2000)
    drawn = Batches({"x": torch.arange(4000)}, 100, seed=0, weights=weights).order()
    assert 0.72 < (drawn >= 2000).float().mean() < 0.78


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    assert len(Batches({"x": torch.arange(5)}, 64, seed=0)) == 1
