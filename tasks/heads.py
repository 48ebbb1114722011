"""Train heads for every label on one shared encoder, beside the baselines that say what sharing is worth."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline_lib.core.compute import resolve_device, seed_everything
from pipeline_lib.core.files import read_json, write_csv, write_json, write_parquet
from pipeline_lib.core.progress import say
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.dataset import read_dataset
from pipeline_lib.encoders.encoder import Encoder, from_config, load_encoder, save_model
from pipeline_lib.encoders.features import to_tensor
from pipeline_lib.heads.labels import encode, label_specs
from pipeline_lib.heads.model import HeadsLearner, MultiTask
from pipeline_lib.heads.predictions import prediction_table
from pipeline_lib.views import View, augment
from tasks.fitting import train
from tasks.stage import Stage, main

PRETRAINED = Path("models/encoder")


def run(stage: Stage) -> None:
    """Train on the source's train split and predict its test split."""
    block, kinds = stage.params.heads, stage.params.labels
    device = resolve_device(stage.params.device)
    source = read_dataset(Path("data/source"), list(kinds))
    rows, test = source.rows("train"), source.rows("test")
    specs = label_specs(source, kinds, rows)
    images = to_tensor(source.images[rows]).to(device)
    held_out = to_tensor(source.images[test]).to(device)
    labels = {name: encode(source.label(name)[rows], spec).to(device) for name, spec in specs.items()}

    def train_model(
        name: str, encoder: Encoder, wanted: dict[str, Any], frozen: bool
    ) -> tuple[MultiTask, pd.DataFrame]:
        seed = derive_seed(stage.params.seed, "heads", name)
        seed_everything(seed)
        model = MultiTask(encoder, wanted)
        learner = HeadsLearner(model, augment(encoder, block.views.model_dump())(View()), frozen)
        columns = {"images_BCHW": images, **{label: labels[label] for label in wanted}}
        history = train(stage, block, learner, columns, name=name, seed=seed)
        return model.to(device), history.assign(model=name)

    # The random weights that pretraining started from, unless it was given others.
    untrained = from_config(read_json(PRETRAINED / "config.json"), derive_seed(stage.params.seed, "pretrain"))
    runs = {
        "multi_task": train_model("multi_task", load_encoder(PRETRAINED), specs, frozen=False),
        "frozen": train_model("frozen", load_encoder(PRETRAINED), specs, frozen=True),
        "scratch": train_model("scratch", untrained, specs, frozen=False),
    }
    tables = [prediction_table(model, name, source.table["id"][test], held_out) for name, (model, _) in runs.items()]
    histories = [history for _, history in runs.values()]
    for label, spec in specs.items():
        model, history = train_model(f"single_task_{label}", load_encoder(PRETRAINED), {label: spec}, frozen=False)
        tables.append(prediction_table(model, "single_task", source.table["id"][test], held_out))
        histories.append(history)
    chosen, _ = runs[{"finetuned": "multi_task"}.get(block.train, block.train)]
    say(f"heads: {', '.join(specs)} on {len(rows)} images, {len(test)} held out; handing on the {block.train} model")

    config = {**chosen.config(), "train": block.train, "fingerprint": stage.fingerprint}
    save_model(stage.output("models/heads"), chosen, config)
    write_parquet(stage.output("predictions/heads.parquet"), pd.concat(tables))
    curves = pd.concat(histories)
    write_csv(stage.output("plots/heads.csv"), curves[["model", "epoch", "loss"]])
    final = curves.groupby("model", sort=True)["loss"].last()
    write_json(stage.output("metrics/heads.json"), {f"loss.{name}": loss for name, loss in final.items()})


if __name__ == "__main__":
    main("heads", run)
