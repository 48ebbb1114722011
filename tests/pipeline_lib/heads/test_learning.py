"""A strategy from its start to its end, and what images held back say of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.heads.learner import HeadsLearner, label_columns
from pipeline_lib.heads.learning import Validated, choose_strategy, learn, validate, validation_part
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.strategies import STRATEGIES
from pipeline_lib.labels import KINDS
from tests.pipeline_lib.labels.examples import spec_of, values_of

CONFIG = {"encoder": "small_cnn", "channels": 1, "size": 12, "mean": [0.4], "std": [0.3], "stem": None}
CPU, NUM = torch.device("cpu"), 80
KEYS = np.array([f"key {row // 2}" for row in range(NUM)])
VALUES = {kind: values_of(kind, NUM, missing=0.2) for kind in KINDS}


def make_rows(folder: Path) -> Rows:
    images = np.random.default_rng(0).integers(0, 256, (NUM, 12, 12, 1), np.uint8)
    np.save(folder / "images.npy", images)
    return Rows(Images(folder / "images.npy"), np.arange(NUM))


def learnt(
    folder: Path, name: str, values: Mapping[str, np.ndarray] = VALUES, lr: float = 0.01
) -> tuple[MultiTask, Validated, list[Mapping[str, Any]]]:
    """Return the model, what was said of it, and the columns that a training of one step was given."""
    specs = {kind: spec_of(kind, values[kind]) for kind in values}
    torch.manual_seed(0)
    model = MultiTask(from_config(CONFIG, 0), specs)
    given: list[Mapping[str, Any]] = []

    def train(learner: nn.Module, columns: Mapping[str, Any]) -> pd.DataFrame:
        assert isinstance(learner, HeadsLearner)
        given.append(columns)
        if lr:
            optimizer = torch.optim.SGD([one for one in learner.parameters() if one.requires_grad], lr=lr)
            images = columns["images_BCHW"]
            labels = {key: column for key, column in columns.items() if key != "images_BCHW"}
            learner.train()(images.read(torch.arange(len(images))), **labels)["loss"].backward()
            optimizer.step()
        return pd.DataFrame({"epoch": [1], "loss": [0.5]})

    def views(images_BCHW: Tensor) -> list[Tensor]:
        return [model.encoder.normalise(images_BCHW)]

    columns = label_columns(specs, values)
    history, validated = learn(STRATEGIES[name], model, make_rows(folder), columns, KEYS, views, train, CPU, 3)
    assert len(history) == len(given)
    return model, validated, given


def test_a_tenth_is_held_back_and_no_group_is_torn() -> None:
    keys = np.array([f"key {row // 4}" for row in range(1000)])
    part = validation_part(keys, 0)
    assert part.mean() == pytest.approx(0.1, abs=0.01)
    assert not set(keys[part]) & set(keys[~part])
    assert np.array_equal(part, validation_part(keys, 0)) and not np.array_equal(part, validation_part(keys, 1))


def test_images_of_one_group_are_all_trained_on() -> None:
    assert not validation_part(np.array(["one"] * 50), 0).any()


@pytest.mark.parametrize("num", [0, 1, 2, 19, 20])
def test_of_a_handful_of_images_all_are_trained_on(num: int) -> None:
    part = validation_part(np.array([f"key {row}" for row in range(num)]), 0)
    assert part.sum() == (2 if num == 20 else 0)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if STRATEGIES[name].layers is None])
def test_what_is_held_back_trains_nothing_before_it_has_spoken(tmp_path: Path, name: str) -> None:
    _, _, given = learnt(tmp_path, name)
    part = validation_part(KEYS, 3)
    for columns in given:
        assert set(columns["images_BCHW"].rows) == set(np.flatnonzero(~part))
        assert all(len(column) == (~part).sum() for column in columns.values())
    assert bool(given) == (name != "frozen")
    # Other labels of the part change what is said of it, and nothing that was trained.
    changed = {"multiclass": VALUES["multiclass"].copy()}
    changed["multiclass"][part] = np.roll(changed["multiclass"][part], 1)
    one, said, _ = learnt(tmp_path, name, {"multiclass": VALUES["multiclass"]})
    other, other_said, _ = learnt(tmp_path, name, changed)
    assert said.losses != other_said.losses
    same = all(torch.equal(*pair) for pair in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert same == (name != "frozen"), "only heads that are all there is to train go on to learn from it"


@pytest.mark.parametrize("name", ["frozen", "scratch"])
def test_each_label_is_judged_and_those_with_classes_are_calibrated(tmp_path: Path, name: str) -> None:
    _, validated, _ = learnt(tmp_path, name)
    assert set(validated.losses) == set(KINDS)
    assert set(validated.calibration) == {kind for kind in KINDS if KINDS[kind].has_classes}
    part = validation_part(KEYS, 3)
    for kind, found in validated.calibration.items():
        assert found["images"] == sum(value is not None for value in VALUES[kind][part]) and found["temperature"] > 0


def test_heads_that_come_first_are_there_before_anything_is_trained(tmp_path: Path) -> None:
    pixels = make_rows(tmp_path).images[np.arange(NUM)].astype(np.float64)
    bright = pixels.mean(axis=(1, 2, 3))
    losses = {name: learnt(tmp_path, name, {"regression": bright}, lr=0)[1].loss for name in ("frozen", "lp_ft", "all")}
    assert losses["lp_ft"] == losses["frozen"] != losses["all"]


def test_low_rank_updates_are_in_the_weights_when_images_held_back_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONFIG, "encoder", "small_vit")
    model, validated, _ = learnt(tmp_path, "low_rank", {"multiclass": VALUES["multiclass"]}, lr=1.0)
    plain = from_config(CONFIG, 0)
    old, new = plain.state_dict(), model.encoder.state_dict()
    assert set(old) == set(new) and any(not torch.equal(value, new[key]) for key, value in old.items())
    assert validated.losses["multiclass"] is not None
    frozen, _, _ = learnt(tmp_path, "frozen", {"multiclass": VALUES["multiclass"]})
    assert all(torch.equal(value, frozen.encoder.state_dict()[key]) for key, value in old.items())


def test_a_label_that_no_held_back_image_has_says_nothing(tmp_path: Path) -> None:
    model = MultiTask(from_config(CONFIG, 0), {"what": spec_of("multiclass", VALUES["multiclass"])})
    none = {"what": torch.full((NUM,), -100)}
    found = validate(model, make_rows(tmp_path), none, CPU)
    assert found.losses == {"what": None} and found.loss == 0
    assert found.calibration == {"what": {"temperature": 1.0, "images": 0}}


def test_the_strategy_with_the_least_loss_is_chosen_and_of_equals_the_first() -> None:
    found = {name: Validated({"a": loss, "b": None}, {}) for name, loss in (("x", 0.2), ("y", 0.1), ("z", 0.1))}
    assert choose_strategy(found, ["x", "y", "z"]) == "y" and choose_strategy(found, ["z", "x", "y"]) == "z"
