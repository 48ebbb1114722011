"""A working directory with a small project, whose stages are called in this process, one at a time."""

import copy
import importlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML

from benchmarks.scratch import ROOT
from pipeline_lib.core.files import read_json, write_json, write_parquet
from pipeline_lib.encoders.encoder import from_config, save_model
from pipeline_lib.encoders.weights import stem_of
from pipeline_lib.structure import PROJECTIONS
from pipeline_lib.training import fit
from tasks import fitting
from tasks.declaration import resolve
from tasks.params import read_params
from tasks.stage import Stage
from tasks.yaml_files import DVC_FILE, PARAMS_FILE, read_yaml

TRAINED = {"epochs": 1, "batch_size": 16}
PARAMS: Mapping[str, Any] = {
    "seed": 0,
    "seeds": [0],
    "device": "cpu",
    "image": {"size": 12, "channels": 1},
    "datasets": {
        "drawn": {
            "reader": "folder",
            "path": "pictures/drawn",
            "labels": "labels.csv",
            "content": 12,
            "test_fraction": 0.3,
        },
        "printed": {
            "reader": "folder",
            "path": "pictures/printed",
            "labels": "labels.csv",
            "content": 12,
            "test_fraction": 0.5,
        },
    },
    "source": ["drawn"],
    "target": ["printed"],
    "labels": {"place": "multiclass", "light": "regression"},
    "primary": "place",
    "audit": {"sample": 40, "permutations": 10},
    "select": {},
    "compare": {"path": PARAMS_FILE.name, "encoders": {}},
    "rank": {"sample": 40, "resamples": 8},
    "pretrain": {**TRAINED, "weights_path": PARAMS_FILE.name, "devices": 1},
    "heads": {**TRAINED, "strategies": ["frozen", "all", "scratch"], "use": "scratch"},
    "adapt": {**TRAINED, "methods": ["adabn", "shot_im"], "use": "shot_im"},
    "embed": {"source_sample": 30},
    "evaluate": {"labels_per_class": [1, 2], "repeats": 2, "restarts": 1, "neighbors": 5, "umap_dims": 2},
    "report": {"thumbnails": 10},
}
# Whose keys are names: a change replaces all of them.
REPLACED = ("datasets", "labels")


@cache
def dvc_yaml() -> dict[str, Any]:
    """Return what the project's dvc.yaml holds."""
    return read_yaml(ROOT / DVC_FILE)


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``folder`` the working directory, and give UMAP a quick stand-in."""
    monkeypatch.chdir(folder)
    monkeypatch.setitem(PROJECTIONS, "umap", PROJECTIONS["pca"])


def write_params(**changes: Any) -> None:
    """Write params.yaml into the working directory; ``changes`` are merged into the blocks of PARAMS."""
    blocks = copy.deepcopy(dict(PARAMS))
    for name, change in changes.items():
        merged = isinstance(change, Mapping) and name not in REPLACED
        blocks[name] = {**blocks.get(name, {}), **change} if merged else change
    YAML().dump(blocks, PARAMS_FILE)  # which keeps the order of labels


def spec(name: str, **changes: Any) -> dict[str, Any]:
    """Return the spec of a dataset as in PARAMS, of pictures in the folder of this name."""
    return {**PARAMS["datasets"]["drawn"], "path": f"pictures/{name}", **changes}


def write_pictures(
    name: str, images_NHW: np.ndarray, labels: Mapping[str, Sequence[Any]] | None = None, **columns: Sequence[Any]
) -> Path:
    """Write PNG files for a dataset, and a table of its labels and further columns; return the folder."""
    folder = Path("pictures") / name
    folder.mkdir(parents=True)
    files = [f"{row:03d}.png" for row in range(len(images_NHW))]
    for file, image in zip(files, images_NHW, strict=True):
        Image.fromarray(image).save(folder / file)
    pd.DataFrame({"file": files, **(labels or {}), **columns}).to_csv(folder / "labels.csv", index=False)
    return folder


def pictures(
    num: int, seed: int = 0, side: int = 12, places: Sequence[int] | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Draw ``num`` noisy images, each with a light square at one of three ``places``, in turn where none are given.

    Return them, uint8 ``[N, side, side]``, and their labels: the place, and how light they are.
    """
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (num, side, side), np.uint8)
    places = [row % 3 for row in range(num)] if places is None else places
    for image, place in zip(images, places, strict=True):
        image[4 * place : 4 * place + 4, 4 * place : 4 * place + 4] += 150
        image //= rng.integers(1, 4, dtype=np.uint8)
    return images, {"place": [f"at {place}" for place in places], "light": images.mean(axis=(1, 2)) / 255}


def ingested(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    """Make a project in ``folder`` whose datasets of PARAMS are ingested, with both labels, and enter it."""
    enter(folder, monkeypatch)
    for seed, name in enumerate(PARAMS["datasets"]):
        images, labels = pictures(60, seed)
        write_pictures(name, images if name == "drawn" else 255 - images, labels)
    write_params(**changes)
    run("ingest")
    return folder


def copied(finished: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy a project that others go on from, and enter the copy."""
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    enter(folder, monkeypatch)


def drop_labels(dataset: str, *names: str) -> None:
    """Take labels out of a dataset that was ingested, as if it never had them."""
    folder = Path("datasets") / dataset
    card = read_json(folder / "card.json")
    kept = {name: described for name, described in card["labels"].items() if name not in names}
    write_json(folder / "card.json", {**card, "labels": kept})
    write_parquet(folder / "table.parquet", read_table(dataset).drop(columns=[f"label.{name}" for name in names]))


def write_encoder(training: int = 0) -> None:
    """Write an encoder as the stage pretrain would, with random weights and others that it started from."""
    recipe = {"encoder": "small_cnn", "channels": 1, "size": 12, "mean": [0.2], "std": [0.2], "stem": stem_of(None)}
    for seed, place in enumerate((".", "start")):
        encoder = from_config(recipe, seed)
        config = {**encoder.config(), "framing": {}, "method": "simclr", "weights": "random"}
        save_model(Path(f"models/encoder/{training}") / place, encoder, config)


def learning_rates(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Return a dict that fills with the peak learning rate of every training from here on, by its name."""
    rates = {}

    def recorded(*given: Any, **settings: Any) -> pd.DataFrame:
        rates[settings["name"]] = settings["lr"]
        return fit(*given, **settings)

    monkeypatch.setattr(fitting, "fit", recorded)
    return rates


def call(body: Callable[[Stage], None], *outputs: str, address: str = "stage") -> None:
    """Call the body of a stage that declares ``outputs``, and publish them."""
    stage = Stage(address, read_params(), "0" * 16, tuple(map(Path, outputs)))
    threads = torch.get_num_threads()
    try:
        body(stage)
    finally:
        torch.set_num_threads(threads)  # numba changes it, which a stage that is a process keeps to itself
    stage.publish()


def run(*names: str) -> None:
    """Run these stages in the order of dvc.yaml, each for all of its datasets or seeds, with nothing to resume from."""
    shutil.rmtree(".graftline", ignore_errors=True)
    for address, declared in resolve(dvc_yaml(), read_yaml(PARAMS_FILE)).items():
        name, _, item = address.partition("@")
        if name in names:
            body = importlib.import_module(f"tasks.{name}").run
            if item:
                body = partial(body, **({"dataset": item} if name == "ingest" else {"training": int(item)}))
            call(body, *declared.outs, address=address)


def read_table(dataset: str) -> pd.DataFrame:
    """Return the table of a dataset that was ingested."""
    return pd.read_parquet(f"datasets/{dataset}/table.parquet")


def change_label(dataset: str, label: str, split: str, change: Callable[[pd.Series], Any]) -> None:
    """Change the values that a dataset's images of one split have of a label, in the dataset as it was ingested."""
    table = read_table(dataset)
    rows = table["split"] == split
    column = table[f"label.{label}"].copy()
    column[rows] = change(column[rows])
    write_parquet(Path(f"datasets/{dataset}/table.parquet"), table.assign(**{f"label.{label}": column}))


def shuffled(values: pd.Series) -> Any:
    """Return the values in another order."""
    order = np.random.default_rng(0).permutation(len(values))
    moved = values.to_numpy()[order]
    assert not pd.Series(moved).equals(pd.Series(values.to_numpy()))
    return moved


def bytes_of(*folders: str) -> dict[str, bytes]:
    """Return the content of every file in these folders or files."""
    files = [file for name in folders for file in ([Path(name)] if Path(name).is_file() else Path(name).rglob("*"))]
    found = {str(file): file.read_bytes() for file in files if file.is_file()}
    assert found
    return found
