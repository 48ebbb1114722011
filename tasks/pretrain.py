"""Learn an encoder from the source's images alone.

Their labels are read for two settings only, which are off by default: ``pretrain.watch``, a probe that is shown and
chooses nothing, and the method ``supervised``, the baseline that self-supervision is compared with.
"""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from pipeline_lib.core.compute import resolve_device, resolve_hardware, seed_everything
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import write_csv, write_json
from pipeline_lib.core.progress import say
from pipeline_lib.core.ranks import leads
from pipeline_lib.core.registry import pick, with_options
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.dataset import Dataset, read_dataset
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.encoder import Encoder, from_config, save_model
from pipeline_lib.encoders.weights import load_pretrained, stem_of
from pipeline_lib.methods import LABELLED, METHODS
from pipeline_lib.training import Hardware
from pipeline_lib.training.probe import FeatureProbe
from pipeline_lib.views import augment
from tasks.fitting import train
from tasks.params import Pretrain
from tasks.stage import Stage, main

SOURCE = Path("data/source")
# Enough to estimate a rank and a spread, few enough to look at after every epoch.
WATCHED = 1000


def run(stage: Stage) -> None:
    """Pretrain on the selected images of the source."""
    block = stage.params.pretrain
    device = resolve_device(stage.params.device)
    resolve_hardware(device, block.devices * block.num_nodes, block.batch_size, block.precision)
    seed = derive_seed(stage.params.seed, "pretrain")
    supervised = block.method in LABELLED
    source = read_dataset(SOURCE, sorted({name for name in (block.watch, supervised and stage.params.primary) if name}))
    selection = pd.read_parquet("data/selection.parquet").set_index("id")["weight"]
    chosen = source.table["id"].isin(selection.index).to_numpy(copy=True)
    options = dict(block.options)
    columns: dict[str, Any] = {}
    if supervised:
        classes, numbers = _labels(source, stage.params.primary)
        chosen &= (numbers >= 0) & (source.table["split"] == "train").to_numpy()
        options["num_classes"] = len(classes)
        columns["labels"] = torch.from_numpy(numbers[chosen])
    rows = np.flatnonzero(chosen)
    if block.batch_size > len(rows):
        raise UserError(
            f"pretrain.batch_size in params.yaml is {block.batch_size}, but there are only {len(rows)} images to train "
            f"on: lower it to {len(rows)} or less"
        )
    columns["images_BCHW"] = Rows(SOURCE / "images.npy", rows)
    weights = torch.from_numpy(selection[source.table["id"][rows]].to_numpy(copy=True))

    seed_everything(seed)
    encoder = _encoder(stage, source, seed)
    method = with_options(pick(METHODS, block.method, "pretrain.method in params.yaml"), options, "pretrain.options")
    learner = method(encoder, augment(encoder, block.views.model_dump(), block.transforms))
    hardware = Hardware(device, block.devices, block.num_nodes, block.strategy, block.precision)
    history = train(
        stage,
        block,
        learner,
        columns,
        name="pretrain",
        seed=seed,
        weights=None if bool((weights == weights[0]).all()) else weights,
        hardware=hardware,
        optimizer=block.optimizer,
        watch=_watch(encoder, source, block, rows),
        loggers=_loggers(block, stage),
    )
    if not leads():
        return
    if speed := history.attrs["speed"]:  # none where an earlier process had trained to the end
        say(
            f"pretrain: {speed['images_per_second']:.0f} images a second, {speed['data_wait']:.1%} of the time waiting "
            f"for data, at most {speed['gigabytes']:.1f} GB of memory"
        )
    config = {**encoder.config(), "method": block.method, "fingerprint": stage.fingerprint}
    save_model(stage.output("models/encoder"), encoder, config)
    write_csv(stage.output("plots/pretrain.csv"), history)
    last = history.iloc[-1].drop("epoch").to_dict()
    write_json(stage.output("metrics/pretrain.json"), {**last, "images": len(rows), "epochs": block.epochs})


def _encoder(stage: Stage, source: Dataset, seed: int) -> Encoder:
    block, image = stage.params.pretrain, stage.params.image
    recipe = {
        "encoder": block.encoder,
        "channels": image.channels,
        "size": block.size or image.size,
        "mean": source.card["mean"],
        "std": source.card["std"],
    }
    encoder = from_config({**recipe, "stem": stem_of(block.weights)}, seed)
    if block.weights is not None:
        say(f"pretrain: {load_pretrained(encoder, block.weights, partial=block.allow_partial)}")
    return encoder


def _labels(source: Dataset, name: str) -> tuple[list[Any], np.ndarray]:
    """Return the classes of a label and its numbers, int64 ``[N]``, -1 where it is missing."""
    values = source.label(name)
    known = ~pd.isna(values)
    classes = sorted(set(values[known]))
    numbers = np.full(len(values), -1)
    numbers[known] = np.searchsorted(np.array(classes), values[known])
    return classes, numbers


def _watch(encoder: Encoder, source: Dataset, block: Pretrain, rows: np.ndarray) -> Callable[[], Mapping[str, float]]:
    """Return the probe of the features after each epoch; with a label, kNN from its train to its test split."""
    images = SOURCE / "images.npy"
    if block.watch is None:
        return FeatureProbe(encoder, Rows(images, _spread(rows)))
    _, numbers = _labels(source, block.watch)
    split = source.table["split"].to_numpy()
    bank, queries = (_spread(np.flatnonzero((split == part) & (numbers >= 0))) for part in ("train", "test"))
    labels = (torch.from_numpy(numbers[part]) for part in (bank, queries))
    return FeatureProbe(encoder, Rows(images, bank), Rows(images, queries), *labels)


def _spread(rows: np.ndarray) -> np.ndarray:
    """Return at most WATCHED of the rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(WATCHED, len(rows))).astype(int)]


def _loggers(block: Pretrain, stage: Stage) -> list[Logger]:
    if not block.tensorboard:
        return []
    if not importlib.util.find_spec("tensorboard"):
        raise UserError(
            "pretrain.tensorboard in params.yaml is true, but the package tensorboard is not installed: install it "
            "into .venv or set it to false"
        )
    return [TensorBoardLogger(".graftline", name="tensorboard", version=stage.fingerprint)]


if __name__ == "__main__":
    main("pretrain", run)
