"""Carry encoder and heads over to the target, whose labels are never read here."""

import copy
from functools import partial
from pathlib import Path

import pandas as pd

from pipeline_lib.adapt import ADAPTERS
from pipeline_lib.core.compute import resolve_device, seed_everything
from pipeline_lib.core.files import write_csv, write_json, write_parquet
from pipeline_lib.core.registry import pick, with_options
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.dataset import read_dataset
from pipeline_lib.encoders.encoder import save_model
from pipeline_lib.encoders.features import to_tensor
from pipeline_lib.heads.labels import encode
from pipeline_lib.heads.model import load_multi_task
from pipeline_lib.heads.predictions import prediction_table
from tasks.fitting import train
from tasks.stage import Stage, main


def run(stage: Stage) -> None:
    """Run every adapter of the list and hand on the declared one."""
    block, primary = stage.params.adapt, stage.params.primary
    device = resolve_device(stage.params.device)
    source = read_dataset(Path("data/source"), [primary])
    target = read_dataset(Path("data/target"))
    model = load_multi_task(Path("models/heads")).to(device)
    train_rows = source.rows("train")
    labelled = {
        "images_BCHW": to_tensor(source.images[train_rows]).to(device),
        primary: encode(source.label(primary)[train_rows], model.specs[primary]).to(device),
    }
    images = to_tensor(target.images).to(device)
    tables = [prediction_table(model, "source_only", target.table["id"], images)]
    histories, adapted = [], {}
    for name in block.methods:
        seed = derive_seed(stage.params.seed, "adapt", name)
        seed_everything(seed)
        where = "adapt.methods in params.yaml"
        adapter = with_options(pick(ADAPTERS, name, where), block.options.get(name, {}), f"adapt.options.{name}")

        fit = partial(train, stage, block, name=name, seed=seed)
        adapted[name] = copy.deepcopy(model)
        history = adapter(adapted[name], images, labelled, primary, fit)
        histories.append(history.assign(method=name))
        tables.append(prediction_table(adapted[name].to(device), name, target.table["id"], images))

    curves = pd.concat(histories)
    config = {**model.config(), "method": block.use, "fingerprint": stage.fingerprint}
    save_model(stage.output("models/adapted"), adapted[block.use], config)
    write_parquet(stage.output("predictions/adapt.parquet"), pd.concat(tables))
    write_csv(stage.output("plots/adapt.csv"), curves[["method", "epoch", "loss"]])
    final = curves.groupby("method", sort=True)["loss"].last()
    write_json(stage.output("metrics/adapt.json"), {f"loss.{name}": loss for name, loss in final.items()})


if __name__ == "__main__":
    main("adapt", run)
