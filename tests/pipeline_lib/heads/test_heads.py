from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional as F

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.dataset import Dataset
from pipeline_lib.encoders.encoder import from_config, save_model
from pipeline_lib.heads.labels import MISSING, decode, encode, label_specs
from pipeline_lib.heads.model import HeadsLearner, MultiTask, label_loss, load_multi_task, predict
from pipeline_lib.heads.predictions import prediction_table

KINDS = {"shape.name": "multiclass", "filled": "binary", "area": "regression"}
CONFIG = {"encoder": "small_cnn", "channels": 1, "size": 16, "mean": [0.4], "std": [0.3]}
SPECS = {
    "shape.name": {"kind": "multiclass", "classes": ["a", "b", "10"]},
    "filled": {"kind": "binary", "classes": ["0", "1"]},
    "area": {"kind": "regression", "mean": 2.0, "std": 0.5},
}


def dataset(shape: list[str | None], filled: list[str | None], area: list[float]) -> Dataset:
    table = pd.DataFrame(
        {
            "label.shape.name": pd.array(shape, dtype="string"),
            "label.filled": pd.array(filled, dtype="string"),
            "label.area": area,
        }
    )
    classes = {"shape.name": ["a", "b", "10"], "filled": ["0", "1"]}
    card = {"labels": {name: {"classes": classes.get(name)} for name in KINDS}}
    return Dataset(np.zeros((len(table), 16, 16, 1), np.uint8), table, card)


def model(seed: int = 0) -> MultiTask:
    return MultiTask(from_config(CONFIG, seed), SPECS)


def test_specs_describe_the_training_rows_only() -> None:
    data = dataset(["a", "10", None, "b"], ["0", "1", "1", None], [1.0, 3.0, np.nan, 100.0])
    specs = label_specs(data, KINDS, np.array([0, 1, 2]))
    assert specs["shape.name"] == {"kind": "multiclass", "classes": ["a", "10"]}
    assert specs["area"] == {"kind": "regression", "mean": 2.0, "std": 1.0}


@pytest.mark.parametrize(
    ("shape", "message"),
    [(["a", "a", "a"], "'shape.name' has 1 classes"), ([None, None, None], "'shape.name' has no value")],
)
def test_a_label_without_two_classes_is_refused(shape: list[str | None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        label_specs(dataset(shape, ["0", "1", "0"], [1.0, 2.0, 3.0]), KINDS, np.arange(3))


def test_a_binary_label_with_three_classes_is_refused() -> None:
    data = dataset(["a", "b", "10"], ["0", "1", "0"], [1.0, 2.0, 3.0])
    with pytest.raises(UserError, match="a binary label needs two"):
        label_specs(data, {"shape.name": "binary"}, np.arange(3))


def test_labels_survive_encoding_and_decoding() -> None:
    values = pd.array(["10", None, "a", "unheard of"], dtype="string")
    numbers = encode(values, SPECS["shape.name"])
    assert numbers.tolist() == [2, MISSING, 0, MISSING]
    back = decode(F.one_hot(numbers.clamp(min=0), 3).float(), SPECS["shape.name"])
    assert back["predicted_class"].iloc[0] == "10"
    area = encode([1.0, np.nan, 2.5], SPECS["area"])
    assert area.isnan().tolist() == [False, True, False]
    np.testing.assert_allclose(decode(area[:, None], SPECS["area"])["predicted_value"], [1.0, np.nan, 2.5], atol=1e-6)


def test_the_loss_of_known_labels_is_scikit_learns() -> None:
    torch.manual_seed(0)
    outputs, classes = torch.randn(6, 3), torch.tensor([0, 1, MISSING, 2, MISSING, 1])
    known = classes != MISSING
    expected = log_loss(classes[known], outputs[known].double().softmax(1), labels=[0, 1, 2])
    assert label_loss(outputs, classes).item() == pytest.approx(expected, rel=1e-5)
    numbers = torch.tensor([1.0, float("nan"), -1.0])
    expected = ((outputs[[0, 2], 0] - numbers[[0, 2]]) ** 2).mean().item()
    assert label_loss(outputs[:3, :1], numbers).item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_a_label_gives_no_loss_and_no_nan() -> None:
    outputs = torch.randn(4, 3, requires_grad=True)
    for labels in (torch.full((4,), MISSING), torch.full((4,), float("nan"))):
        loss = label_loss(outputs[:, :1] if labels.is_floating_point() else outputs, labels)
        loss.backward()
        assert loss.item() == 0
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_encoder_does_not_move_and_another_does(frozen: bool) -> None:
    multi = model()
    before = {name: value.clone() for name, value in multi.encoder.state_dict().items()}
    learner = HeadsLearner(multi, lambda images: [multi.encoder.normalise(images)], frozen).train()
    optimizer = torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], lr=0.1)
    labels = {"shape.name": torch.tensor([0, 1, 2, 0]), "filled": torch.tensor([0, 1, 0, 1]), "area": torch.randn(4)}
    learner(torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8), **labels)["loss"].backward()
    optimizer.step()
    same = all(torch.equal(before[name], value) for name, value in multi.encoder.state_dict().items())
    assert same is frozen


def test_a_model_survives_its_two_files(tmp_path: Path) -> None:
    multi = model()
    save_model(tmp_path, multi, multi.config())
    images = torch.randint(0, 256, (5, 1, 16, 16), dtype=torch.uint8)
    expected, got = predict(multi, images, 2), predict(load_multi_task(tmp_path), images)
    for name, outputs in expected.items():
        torch.testing.assert_close(outputs, got[name])


def test_the_table_of_predictions_is_long() -> None:
    images = torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8)
    table = prediction_table(model(), "toy", pd.Series(["x", "y", "z"]), images)
    assert list(table.columns) == ["id", "model", "label", "predicted_class", "predicted_value"]
    assert len(table) == 3 * len(SPECS)
    numbers = table["label"] == "area"
    assert table["predicted_class"].isna().equals(numbers)
    assert table["predicted_value"].notna().equals(numbers)
