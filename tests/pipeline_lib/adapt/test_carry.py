"""An adapter from start to end, and the heads that it leaves behind."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pipeline_lib.adapt import ADAPTERS
from pipeline_lib.adapt.carry import carry
from pipeline_lib.heads.learner import label_columns
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.training import Batches, Hardware, fit
from tests.pipeline_lib.adapt.sets import CLASSES, learn, make_model, squares, to_tensor
from tests.pipeline_lib.training.sets import stored

CPU = torch.device("cpu")
SPEC = {"size.px": KINDS["regression"].describe(np.array([0.0, 1.0, 2.0]))}


def both_labelled(num: int = 96) -> tuple[Batches, np.ndarray]:
    """Return a source on which the number is that of the class, and those numbers."""
    images, numbers = squares(num, seed=1)
    model = make_model()
    model.specs = {**model.specs, **SPEC}
    values = {"size.px": numbers.astype(float), "shape": np.array(CLASSES, dtype=object)[numbers]}
    return Batches({"images_BCHW": to_tensor(images), **label_columns(model.specs, values)}, 32, seed=0), numbers


def start(source: Batches) -> MultiTask:
    model = make_model()
    model.specs = {**model.specs, **SPEC}
    learn(model, source, steps=30)
    return model


def carried(name: str, model: MultiTask, source: Batches, folder: Path) -> pd.DataFrame:
    def train(learner: nn.Module, columns: dict[str, Any]) -> pd.DataFrame:
        settings = {"name": name, "epochs": 2, "lr": 4e-3, "weight_decay": 0.0, "seed": 0, "checkpoints": folder}
        return fit(learner, Batches(columns, 32, seed=0), hardware=Hardware(CPU), **settings)

    images, _ = squares(90, seed=2, shifted=True)
    return carry(ADAPTERS[name], model, "shape", source, stored(folder, images), train, CPU)


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("name", ["shot_im", "tent", "adabn"])
def test_the_head_that_an_adapter_goes_by_stays(name: str, tmp_path: Path) -> None:
    source, _ = both_labelled()
    model = start(source)
    before = copy.deepcopy(model)
    history = carried(name, model, source, tmp_path)
    assert same(model.head("shape"), before.head("shape"))
    assert len(history) == (0 if name == "adabn" else 2)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["shot_im", "tent", "adabn", "mcc"])
def test_other_heads_are_fitted_anew_where_the_encoder_left_them_behind(name: str, tmp_path: Path) -> None:
    source, numbers = both_labelled()
    model = start(source)
    before = copy.deepcopy(model)
    carried(name, model, source, tmp_path)
    assert not same(model.head("size.px"), before.head("size.px"))
    images, classes = squares(200, seed=3, shifted=True)
    with torch.no_grad():
        outputs = model(model.encoder.normalise(to_tensor(images)))["size.px"]
    answers = KINDS["regression"].decode(outputs, SPEC["size.px"])
    assert np.abs(answers - classes).mean() < np.abs(classes - numbers.mean()).mean()


def test_a_label_without_any_value_in_the_source_keeps_its_head(tmp_path: Path) -> None:
    source, _ = both_labelled()
    source.columns["label_0"] = torch.full_like(source.columns["label_0"], float("nan"))
    model = start(source)
    before = copy.deepcopy(model)
    carried("shot_im", model, source, tmp_path)
    assert same(model.head("size.px"), before.head("size.px"))
