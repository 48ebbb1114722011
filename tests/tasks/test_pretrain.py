import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from pipeline_lib.encoders.encoder import load_encoder
from tasks import fitting, pretrain
from tasks.blocks.pretrain import Pretrain
from tests import toy
from tests.tasks.project import (
    PARAMS,
    bytes_of,
    call,
    change_label,
    copied,
    drop_labels,
    ingested,
    learning_rates,
    pictures,
    read_table,
    run,
    shuffled,
    spec,
    write_params,
    write_pictures,
)

ENCODER = Path("models/encoder/0")
OUTPUTS = ("models/encoder/0", "plots/pretrain/0.csv", "metrics/pretrain/0.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose source images are selected."""
    with pytest.MonkeyPatch.context() as patch:
        folder = ingested(tmp_path_factory.mktemp("pretrain"), patch)
        run("select")
        return folder


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(finished, tmp_path, monkeypatch)


def write_block(**block: Any) -> None:
    write_params(pretrain={**PARAMS["pretrain"], **block})


def weights(folder: Path = ENCODER) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert set(one) == set(other)
    return all(torch.equal(value, other[name]) for name, value in one.items())


def columns_of(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is handed to the loop, call by call."""
    seen: list[dict[str, Any]] = []
    real = fitting.Batches

    def spy(columns: dict[str, Any], *arguments: Any) -> Any:
        seen.append(columns)
        return real(columns, *arguments)

    monkeypatch.setattr(fitting, "Batches", spy)
    return seen


def test_an_encoder_comes_with_what_it_started_from_and_all_that_it_takes_to_use_it() -> None:
    run("pretrain")
    assert not same(weights(), weights(ENCODER / "start"))
    config = read_json(ENCODER / "config.json")
    assert config["method"] == "simclr" and config["weights"] == "random" and config["size"] == 12
    assert set(config["framing"]) == {"drawn", "printed"}
    card = read_json(Path("datasets/drawn/card.json"))
    for moment in ("mean", "std"):
        assert config[moment] == pytest.approx(card[moment], abs=1e-6)
    metrics = read_json(Path("metrics/pretrain/0.json"))
    assert metrics["images"] == 60 and metrics["epochs"] == 1 and np.isfinite(metrics["loss"])


def test_every_training_has_an_encoder_and_a_start_of_its_own() -> None:
    write_params(seeds=[0, 3])
    run("pretrain")
    for place in ("", "start"):
        assert not same(weights(ENCODER / place), weights(Path("models/encoder/3") / place))


@pytest.mark.parametrize("method", ["simclr", "supervised"])
def test_labels_reach_the_loop_only_for_the_supervised_baseline_and_of_its_train_split(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_label("drawn", "place", "train", lambda values: values.where(np.arange(len(values)) % 7 > 0))
    seen = columns_of(monkeypatch)
    write_block(method=method)
    run("pretrain")
    table = read_table("drawn")
    (columns,) = seen
    rows = columns["images_BCHW"].rows
    if method == "simclr":
        assert set(columns) == {"images_BCHW"} and len(rows) == 60
        return
    assert set(columns) == {"images_BCHW", "labels"}
    assert set(table["split"].iloc[rows]) == {"train"}
    values = table["label.place"].iloc[rows]
    assert values.notna().all() and len(values) < 42
    classes = sorted(set(table["label.place"].dropna()))
    assert [classes[number] for number in columns["labels"]] == list(values)


def test_no_label_matters_to_what_learns_without_labels() -> None:
    run("pretrain")
    before = bytes_of(*OUTPUTS)
    for dataset in PARAMS["datasets"]:
        for split in ("train", "test"):
            change_label(dataset, "place", split, shuffled)
    drop_labels("printed", "place")
    run("pretrain")
    assert bytes_of(*OUTPUTS) == before


def test_the_supervised_baseline_sees_no_label_of_the_target_or_of_a_test_split() -> None:
    write_block(method="supervised")
    run("pretrain")
    before = weights()
    for dataset, split in (("drawn", "test"), ("printed", "train"), ("printed", "test")):
        change_label(dataset, "place", split, shuffled)
    run("pretrain")
    assert same(before, weights())
    change_label("drawn", "place", "train", shuffled)
    run("pretrain")
    assert not same(before, weights())


def test_images_of_a_group_that_the_target_is_tested_on_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = columns_of(monkeypatch)
    for seed, name in enumerate(("left", "right")):
        images, labels = pictures(40, seed)
        write_pictures(name, images, labels, group=[f"patient {row % 10}" for row in range(40)])
    write_params(datasets={"drawn": spec("left"), "printed": spec("right", test_fraction=0.3)})
    run("ingest", "select", "pretrain")
    tested = set(read_table("printed").query("split == 'test'")["group"])
    (columns,) = seen
    trained = set(read_table("drawn")["group"].iloc[columns["images_BCHW"].rows])
    assert tested and trained and not tested & trained
    assert f"{4 * len(tested)} of a group, or the very bytes, of the target's test split" in capsys.readouterr().out


def test_selected_images_are_drawn_by_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = columns_of(monkeypatch)
    table = pd.read_parquet("selection/source.parquet").iloc[5:25]
    table.assign(weight=np.linspace(0.5, 1.5, 20)).to_parquet("selection/source.parquet")
    run("pretrain")
    (columns,) = seen
    assert list(columns["images_BCHW"].rows) == list(range(5, 25))
    weighted = weights()
    table.assign(weight=1.0).to_parquet("selection/source.parquet")
    run("pretrain")
    assert not same(weighted, weights())


def test_fewer_images_than_a_batch_are_one_batch(capsys: pytest.CaptureFixture[str]) -> None:
    write_block(batch_size=1000)
    run("pretrain")
    assert "there are 60 images, so a batch has that many and not 1000" in capsys.readouterr().out


def test_a_run_killed_after_its_last_step_leaves_what_it_would_have_left() -> None:
    run("pretrain")
    expected = bytes_of(*OUTPUTS)
    assert list(Path(".graftline").rglob("*.ckpt"))
    call(lambda stage: pretrain.run(stage, training=0), *OUTPUTS, address="pretrain@0")
    assert bytes_of(*OUTPUTS) == expected


@pytest.mark.parametrize("split", [None, "train", "test"], ids=["labelled", "no train label", "no test label"])
def test_a_watch_adds_a_column_where_it_can_and_changes_no_weight(
    split: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    run("pretrain")
    before = weights()
    if split:
        change_label("drawn", "place", split, lambda values: None)
    write_block(watch="place")
    run("pretrain")
    assert same(before, weights())
    curve = pd.read_csv("plots/pretrain/0.csv")
    assert {"loss", "rank", "feature_std"} <= set(curve)
    assert ("knn" in curve) == (split is None)
    assert ("'place' is not watched" in capsys.readouterr().out) == (split is not None)
    if split is None:
        assert curve["knn"].between(0, 1).all()


def test_given_weights_change_at_a_smaller_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = learning_rates(monkeypatch)
    run("pretrain")
    assert rates["pretrain"] == Pretrain().usual
    ENCODER.rename("weights")
    write_block(weights="file", weights_path="weights")
    run("pretrain")
    assert rates["pretrain"] < Pretrain().usual


@pytest.mark.parametrize("learnt_at", [None, 16, 24])
def test_weights_that_see_small_pictures_are_said_to(
    learnt_at: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pretrain, "size_of", lambda source, name: learnt_at)
    run("pretrain")
    assert "see 12" not in capsys.readouterr().out  # random weights have seen nothing
    ENCODER.rename("weights")
    write_block(weights="file", weights_path="weights")
    run("pretrain")
    assert ("made for 24 px and see 12" in capsys.readouterr().out) == (learnt_at == 24)


def test_given_weights_are_where_training_starts() -> None:
    run("pretrain")
    ENCODER.rename("weights")
    write_block(weights="file", weights_path="weights", lr=1e-12)
    run("pretrain")
    one, two = weights(Path("weights")), weights()
    names = [name for name, value in one.items() if name.endswith("weight") and value.ndim > 1]
    assert names and all(torch.allclose(one[name], two[name], atol=1e-6) for name in names)
    assert same({name: one[name] for name in names}, {name: weights(ENCODER / "start")[name] for name in names})
    assert read_json(ENCODER / "config.json")["weights"] == "file"


@pytest.mark.parametrize("method", ["simclr", "moco", "dino", "mae"])
@pytest.mark.parametrize("hold", [True, False])
def test_statistics_of_given_weights_stay_unless_it_is_told_otherwise(method: str, hold: bool) -> None:
    encoder = "small_vit" if method == "mae" else "small_cnn"
    write_block(encoder=encoder)
    run("pretrain")
    ENCODER.rename("weights")
    given = {"weights": "file", "weights_path": "weights", "hold_statistics": hold}
    write_block(encoder=encoder, method=method, **given)
    run("pretrain")
    one, two = weights(Path("weights")), weights()
    assert set(one) == set(two) == set(weights(ENCODER / "start"))
    held = {name for name in one if name.endswith(("running_mean", "running_var"))}
    moved = {name for name in one if not torch.equal(one[name], two[name])}
    assert held.isdisjoint(moved) if hold else held <= moved
    assert any(name.endswith("weight") for name in moved), "all else is trained"


def test_a_smaller_view_makes_an_encoder_that_takes_the_stored_images() -> None:
    write_block(size=8)
    run("pretrain")
    encoder = load_encoder(ENCODER).eval()
    assert read_json(ENCODER / "config.json")["size"] == 8
    images = torch.from_numpy(np.load("datasets/drawn/images.npy")[:3]).permute(0, 3, 1, 2)
    assert encoder(encoder.normalise(images)).shape == (3, encoder.num_features)


def test_views_by_lightly_train_too() -> None:
    write_block(transforms="lightly")
    run("pretrain")
    assert np.isfinite(pd.read_csv("plots/pretrain/0.csv")["loss"]).all()


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"method": "simclir"}, r"^pretrain in params\.yaml: method is 'simclir'.*did you mean 'simclr'"),
        ({"encoder": "resnet81"}, r"^pretrain in params\.yaml: encoder is 'resnet81'.*did you mean"),
        ({"method": "mae"}, r"'small_cnn', which is no plain vision transformer.*set it to small_vit"),
        ({"method": "dino", "options": {"local_size": 20}}, r"local_size is 20 px"),
        ({"options": {"temprature": 1.0}}, r"options has no option 'temprature'.*did you mean 'temperature'"),
        ({"weights": "file", "weights_path": "no.safetensors"}, r"no\.safetensors.*does not exist"),
        ({"precision": "16-mixed"}, r"^pretrain in params\.yaml: precision is 16-mixed, which needs a GPU"),
        ({"devices": 3}, r"^pretrain in params\.yaml: batch_size is 16, which 3 devices cannot share equally"),
    ],
)
def test_mistakes_end_in_one_sentence_with_nothing_written(block: dict[str, Any], message: str) -> None:
    write_block(**block)
    with pytest.raises(UserError, match=message):
        run("pretrain")
    assert not any(Path(output).exists() for output in OUTPUTS)


def test_a_device_that_there_is_not_is_no_mistake_of_the_block() -> None:
    write_params(device="cuda:77")
    with pytest.raises(UserError, match=r"^device is 'cuda:77'"):
        run("pretrain")


@pytest.mark.parametrize(
    ("labels", "primary", "message"),
    [
        ({}, None, r"method is 'supervised', which needs a label"),
        ({"light": "regression"}, None, r"the label 'light' is regression, but this takes one of classes"),
        ({"shape": "multiclass"}, None, r"the source's label 'shape' cannot be learnt: it has no value"),
    ],
)
def test_the_supervised_baseline_needs_a_label_of_classes(
    labels: dict[str, str], primary: str | None, message: str
) -> None:
    write_params(labels=labels, primary=primary, pretrain={**PARAMS["pretrain"], "method": "supervised"})
    with pytest.raises(UserError, match=message):
        run("pretrain")


def test_two_images_it_takes() -> None:
    images, _ = pictures(2)
    write_pictures("two", images)
    write_params(datasets={"drawn": spec("two", labels=None), "printed": spec("printed")})
    run("ingest", "select", "pretrain")
    assert np.isfinite(pd.read_csv("plots/pretrain/0.csv")["loss"]).all()
    pd.read_parquet("selection/source.parquet").iloc[:1].to_parquet("selection/source.parquet")
    with pytest.raises(UserError, match=r"1 images of the source are left to train on"):
        run("pretrain")


def test_weights_that_do_not_fit_are_refused_with_their_keys_unless_a_part_is_enough() -> None:
    run("pretrain")
    state = weights()
    backbone = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    missing = "0.weight"
    save_file({name: value for name, value in backbone.items() if name != missing}, "part.safetensors")
    write_block(weights="file", weights_path="part.safetensors")
    with pytest.raises(UserError, match=rf"does not fit small_cnn: .*{missing}.*allow_partial"):
        run("pretrain")
    write_block(weights="file", weights_path="part.safetensors", allow_partial=True)
    run("pretrain")


@pytest.mark.skipif(bool(importlib.util.find_spec("tensorboard")), reason="tensorboard is installed")
def test_curves_for_a_tensorboard_that_is_not_installed_are_refused() -> None:
    write_block(tensorboard=True)
    with pytest.raises(UserError, match=r"^pretrain in params\.yaml: tensorboard is true, but"):
        run("pretrain")


@pytest.mark.timeout(180)
def test_two_processes_train_one_encoder_and_only_the_first_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = toy.make_project(tmp_path / "project")
    changes = {"pretrain": {"devices": 2, "strategy": "ddp", "epochs": 1}}
    toy.edit_params(project, lambda params: toy.merge(params, changes))
    monkeypatch.chdir(project)
    run("ingest", "select")
    done = toy.call(project, "tasks.pretrain", "0")
    assert done.returncode == 0, done.stderr
    assert load_encoder(project / ENCODER).num_features
    assert len(pd.read_csv(project / "plots/pretrain/0.csv")) == 1
    assert not list((project / ".graftline/checkpoints").rglob("*.ckpt"))
    assert not [path for path in project.rglob(".*.partial*") if os.sep + ".dvc" not in str(path)]
