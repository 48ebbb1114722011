"""The model with a head per label, its training and its table of predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.encoders.encoder import from_config, save_model
from pipeline_lib.heads.learner import HeadsLearner, label_columns
from pipeline_lib.heads.model import MultiTask, load_multi_task
from pipeline_lib.heads.predictions import prediction_table
from pipeline_lib.heads.strategies import STRATEGIES
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import Spec
from tests.pipeline_lib.labels.examples import spec_of, values_of

CONFIG = {"encoder": "small_cnn", "channels": 1, "size": 16, "mean": [0.4], "std": [0.3]}
# One label of every kind, under names that torch, Python or JSON might stumble over.
NAMES = dict(zip(("shape.name", "shape_dot_name", "self", "images_BCHW", "x" * 300), KINDS, strict=True))
CPU = torch.device("cpu")


def all_specs() -> dict[str, Spec]:
    return {name: spec_of(kind, values_of(kind)) for name, kind in NAMES.items()}


def make_model(specs: dict[str, Spec] | None = None, seed: int = 0) -> MultiTask:
    return MultiTask(from_config(CONFIG, seed), all_specs() if specs is None else specs)


def make_learner(model: MultiTask, frozen: bool = False) -> HeadsLearner:
    strategy = STRATEGIES["frozen" if frozen else "all"]
    return HeadsLearner(model, lambda images: [model.encoder.normalise(images)], strategy).train()


def make_images(num: int) -> Tensor:
    return torch.randint(0, 256, (num, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def make_rows(folder: Path, num: int) -> Rows:
    images = make_images(num).permute(0, 2, 3, 1).numpy()
    # In the file the images come in the opposite order.
    np.save(folder / "images.npy", np.ascontiguousarray(images[::-1]))
    return Rows(Images(folder / "images.npy"), np.arange(num)[::-1].copy())


def make_columns(num: int, missing: float = 0.3) -> dict[str, Tensor]:
    return label_columns(all_specs(), {name: values_of(kind, num, missing=missing) for name, kind in NAMES.items()})


def outputs_of(model: MultiTask, images: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return model.eval()(model.encoder.normalise(images))


def test_there_is_a_head_for_each_label_whatever_its_name() -> None:
    model = make_model()
    outputs = outputs_of(model, make_images(3))
    sizes = {"multiclass": 5, "binary": 2, "ordinal": 4, "multilabel": 3, "regression": 1}
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {
        name: (3, sizes[kind]) for name, kind in NAMES.items()
    }
    assert len({id(model.head(name)) for name in NAMES}) == len(NAMES)


def test_the_loss_is_the_mean_over_the_labels() -> None:
    model, images, columns = make_model(), make_images(8), make_columns(8)
    losses = make_learner(model, frozen=True)(images, **columns)
    outputs = outputs_of(model, images)
    each = [
        KINDS[kind].loss(outputs[name], columns[f"label_{index}"]) for index, (name, kind) in enumerate(NAMES.items())
    ]
    torch.testing.assert_close(losses["loss"], torch.stack(each).mean())
    assert set(losses) == {"loss", *(f"loss_{name}" for name in NAMES)}


def test_images_without_a_label_change_only_what_they_are_labelled_with() -> None:
    learner = make_learner(make_model(), frozen=True)
    images, columns = make_images(8), make_columns(8, missing=0)
    expected = learner(images[:4], **{name: column[:4] for name, column in columns.items()})
    # The second half, as of another role, has the first label alone.
    unlabelled = make_columns(8, missing=1.1)
    mixed = {name: torch.cat([columns[name][:4], unlabelled[name][4:]]) for name in columns}
    losses = learner(images, **{**mixed, "label_0": columns["label_0"]})
    first, *others = NAMES
    assert losses[f"loss_{first}"] != expected[f"loss_{first}"]
    for name in others:
        torch.testing.assert_close(losses[f"loss_{name}"], expected[f"loss_{name}"])


def test_a_batch_without_any_label_moves_nothing() -> None:
    learner = make_learner(make_model())
    loss = learner(make_images(4), **make_columns(4, missing=1.1))["loss"]
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or torch.all(p.grad == 0) for p in learner.parameters())


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_encoder_does_not_move_and_another_does(frozen: bool) -> None:
    model = make_model()
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    learner = make_learner(model, frozen)
    optimizer = torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], lr=0.1)
    heads = [p.clone() for p in model.heads.parameters()]
    learner(make_images(8), **make_columns(8))["loss"].backward()
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in model.encoder.state_dict().items()) is frozen
    assert not any(torch.equal(one, other) for one, other in zip(heads, model.heads.parameters(), strict=True))


def test_a_model_survives_its_two_files(tmp_path: Path) -> None:
    model, images = make_model(), make_images(5)
    save_model(tmp_path, model, {**model.config(), "framing": {"size": 16}})
    loaded = load_multi_task(tmp_path)
    assert list(loaded.specs.items()) == list(model.specs.items())
    torch.testing.assert_close(outputs_of(loaded, images), outputs_of(model, images))


def test_a_model_without_labels_can_be_kept_but_not_trained(tmp_path: Path) -> None:
    model = make_model({})
    assert outputs_of(model, make_images(2)) == {}
    save_model(tmp_path, model, model.config())
    assert load_multi_task(tmp_path).specs == {}
    with pytest.raises(ValueError, match="nothing to learn"):
        make_learner(model)


def test_the_table_of_predictions_is_long(tmp_path: Path) -> None:
    model, specs = make_model(), all_specs()
    ids = pd.Series([f"toy/{row}" for row in range(5)])
    warm = {"shape.name": {"temperature": 2.0, "images": 9}}
    table = prediction_table(model, "toy", ids, make_rows(tmp_path, 5), CPU, 2, warm)
    columns = ["id", "model", "label", "predicted_class", "predicted_value", "confidence", "probabilities"]
    assert list(table.columns) == columns and table["confidence"].dtype == np.float32
    assert len(table) == 5 * len(NAMES)
    outputs = outputs_of(model, make_images(5))
    for name, kind in NAMES.items():
        rows = table[table["label"] == name]
        assert rows["id"].tolist() == ids.tolist()
        expected = KINDS[kind].decode(outputs[name], specs[name])
        if KINDS[kind].stored == "float64":
            np.testing.assert_allclose(rows["predicted_value"], expected, rtol=1e-5)
            assert rows["predicted_class"].isna().all()
        else:
            assert rows["predicted_class"].tolist() == expected.tolist()
            assert rows["predicted_value"].isna().all()
        own = KINDS[kind]
        readable = own.readable(outputs[name] / (2.0 if name == "shape.name" else 1.0), specs[name]).detach()
        np.testing.assert_allclose(rows["confidence"], own.confidence(readable), rtol=1e-5)
        if own.judged(np.full(5, None, dtype=object)) is None:
            assert rows["probabilities"].isna().all()
        else:
            np.testing.assert_allclose(np.stack(list(rows["probabilities"])), readable, rtol=1e-5)


def test_probabilities_of_too_many_classes_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = make_model(), make_rows(tmp_path, 5)
    most = max(len(spec.get("classes", ())) for spec in model.specs.values())
    monkeypatch.setattr("pipeline_lib.heads.predictions.MOST_KEPT", 5 * most - 1)
    table = prediction_table(model, "toy", list("abcde"), rows, CPU, 2)
    for name, spec in model.specs.items():
        kept = table[table["label"] == name]["probabilities"].notna()
        assert kept.all() if 0 < len(spec.get("classes", ())) < most else not kept.any()
    assert table.loc[table["predicted_class"].notna(), "confidence"].notna().all()


def test_a_table_without_labels_or_images_has_the_same_types(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, 2)
    full = prediction_table(make_model(), "toy", ["a", "b"], rows, CPU, batch_size=2)
    unlabelled = prediction_table(make_model({}), "toy", ["a", "b"], rows, CPU, batch_size=2)
    nothing = prediction_table(make_model(), "toy", [], Rows(rows.images, np.arange(0)), CPU, batch_size=2)
    for table in (unlabelled, nothing):
        assert len(table) == 0
        pd.testing.assert_series_equal(table.dtypes, full.dtypes)
