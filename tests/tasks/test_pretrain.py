import importlib.util
import os
import shutil
from functools import partial
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
from tasks import fitting, ingest, pretrain, select
from tests import toy
from tests.pipeline_lib.sets import squares
from tests.tasks.project import call, write_params, write_pictures

OUTPUTS = ("models/encoder", "plots/pretrain.csv", "metrics/pretrain.json")
SMALL: dict[str, Any] = {"epochs": 1, "batch_size": 16}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, places = squares(60)
    places = [None if row < 5 else place for row, place in enumerate(places)]
    write_pictures("source", images, places)
    write_pictures("target", 255 - squares(40, seed=1)[0])
    write_params(pretrain=SMALL)
    for role in ("source", "target"):
        call(partial(ingest.run, role=role), f"data/{role}")
    call(select.run, "data/selection.parquet", "metrics/select.json")


def train() -> None:
    """Run the stage with nothing to go on from."""
    shutil.rmtree(".graftline", ignore_errors=True)
    call(pretrain.run, *OUTPUTS)


def columns_of(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is handed to the loop, call by call."""
    seen: list[dict[str, Any]] = []
    real = fitting.Batches

    def spy(columns: dict[str, Any], *arguments: Any) -> Any:
        seen.append(columns)
        return real(columns, *arguments)

    monkeypatch.setattr(fitting, "Batches", spy)
    return seen


@pytest.mark.parametrize("method", ["simclr", "supervised"])
def test_labels_reach_the_loop_only_for_the_supervised_baseline_and_of_its_train_split(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = columns_of(monkeypatch)
    write_params(pretrain={**SMALL, "method": method})
    train()
    table = pd.read_parquet("data/source/table.parquet")
    (columns,) = seen
    rows = columns["images_BCHW"].rows
    if method == "simclr":
        assert set(columns) == {"images_BCHW"}
        assert len(rows) == 60
        return
    assert set(columns) == {"images_BCHW", "labels"}
    assert set(table["split"].iloc[rows]) == {"train"}
    values = table["label.place"].iloc[rows]
    assert values.notna().all()
    classes = sorted(set(table["label.place"].dropna()))
    assert [classes[number] for number in columns["labels"]] == list(values)


def test_a_run_killed_after_its_last_step_leaves_what_it_would_have_left() -> None:
    train()
    before = [
        (Path(output) / "model.safetensors" if output == "models/encoder" else Path(output)) for output in OUTPUTS
    ]
    expected = [file.read_bytes() for file in before]
    assert list(Path(".graftline").rglob("*.ckpt"))
    call(pretrain.run, *OUTPUTS)
    assert [file.read_bytes() for file in before] == expected


def test_a_watch_adds_a_column_and_changes_no_weight() -> None:
    train()
    before = load_file("models/encoder/model.safetensors")
    write_params(pretrain={**SMALL, "watch": "place"})
    train()
    after = load_file("models/encoder/model.safetensors")
    assert all(torch.equal(before[name], value) for name, value in after.items())
    curve = pd.read_csv("plots/pretrain.csv")
    assert {"loss", "rank", "feature_std", "knn"} <= set(curve)
    assert curve["knn"].between(0, 1).all()


def test_given_weights_are_where_training_starts() -> None:
    train()
    folder = Path("weights")
    Path("models/encoder").rename(folder)
    write_params(pretrain={**SMALL, "weights": "weights", "lr": 1e-12})
    train()
    one, two = (load_file(place / "model.safetensors") for place in (folder, Path("models/encoder")))
    weights = [name for name, value in one.items() if name.endswith("weight") and value.ndim > 1]
    assert weights
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in weights)


def test_a_smaller_view_makes_an_encoder_that_takes_the_stored_images() -> None:
    write_params(pretrain={**SMALL, "size": 8})
    train()
    encoder = load_encoder(Path("models/encoder")).eval()
    assert read_json(Path("models/encoder/config.json"))["size"] == 8
    images = torch.from_numpy(np.load("data/source/images.npy")[:3]).permute(0, 3, 1, 2)
    assert encoder(encoder.normalise(images)).shape == (3, encoder.num_features)


def test_views_by_lightly_train_too() -> None:
    write_params(pretrain={**SMALL, "transforms": "lightly"})
    train()
    assert np.isfinite(pd.read_csv("plots/pretrain.csv")["loss"]).all()


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"batch_size": 61},
            r"pretrain\.batch_size in params\.yaml is 61, but there are only 60 images .* lower it to 60",
        ),
        ({"method": "simclir"}, r"pretrain\.method in params\.yaml is 'simclir'.*did you mean 'simclr'"),
        ({"encoder": "resnet81"}, r"pretrain\.encoder in params\.yaml is 'resnet81'.*did you mean"),
        ({"method": "mae"}, r"'small_cnn', is not: set it to small_vit"),
        ({"method": "dino", "options": {"local_size": 20}}, r"local_size in params\.yaml is 20 px"),
        ({"weights": "none.safetensors"}, r"pretrain\.weights in params\.yaml is 'none\.safetensors'"),
        ({"precision": "16-mixed"}, r"pretrain\.precision in params\.yaml is 16-mixed, which needs a GPU"),
        ({"devices": 3}, r"pretrain\.batch_size in params\.yaml is 16, which 3 devices cannot share equally"),
        ({"watch": "plaice"}, r"no label 'plaice'.*did you mean 'place'"),
    ],
)
def test_mistakes_end_in_one_sentence_with_nothing_written(block: dict[str, Any], message: str) -> None:
    write_params(pretrain={**SMALL, **block})
    with pytest.raises(UserError, match=message):
        train()
    assert not any(Path(output).exists() for output in OUTPUTS)


def test_weights_that_do_not_fit_are_refused_with_their_keys_unless_a_part_is_enough() -> None:
    train()
    state = load_file("models/encoder/model.safetensors")
    backbone = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    missing = "0.weight"
    save_file({name: value for name, value in backbone.items() if name != missing}, "part.safetensors")
    write_params(pretrain={**SMALL, "weights": "part.safetensors"})
    with pytest.raises(UserError, match=rf"does not fit small_cnn: .*{missing}.*allow_partial"):
        train()
    write_params(pretrain={**SMALL, "weights": "part.safetensors", "allow_partial": True})
    train()


@pytest.mark.skipif(bool(importlib.util.find_spec("tensorboard")), reason="tensorboard is installed")
def test_curves_for_a_tensorboard_that_is_not_installed_are_refused() -> None:
    write_params(pretrain={**SMALL, "tensorboard": True})
    with pytest.raises(UserError, match=r"pretrain\.tensorboard in params\.yaml is true, but"):
        train()


@pytest.mark.timeout(180)
def test_two_processes_train_one_encoder_and_only_the_first_writes(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    toy.make_project(project)
    changes = {"pretrain": {"devices": 2, "strategy": "ddp", "epochs": 1}}
    toy.edit_params(project, lambda params: toy.merge(params, changes))
    done = toy.call(project, "dvc", "repro", "pretrain")
    assert done.returncode == 0, done.stderr
    assert load_encoder(project / "models/encoder").num_features
    assert len(pd.read_csv(project / "plots/pretrain.csv")) == 1
    assert not list((project / ".graftline/checkpoints").rglob("*.ckpt"))
    assert not [path for path in project.rglob(".*.partial*") if os.sep + ".dvc" not in str(path)]
