"""Learn an encoder from the source's images alone: their labels are never read."""

from functools import partial
from pathlib import Path

import pandas as pd
import torch

from pipeline_lib.core.compute import resolve_device, seed_everything
from pipeline_lib.core.files import write_csv, write_json
from pipeline_lib.core.registry import pick, with_options
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.dataset import read_dataset
from pipeline_lib.encoders.encoder import from_config, save_model
from pipeline_lib.encoders.features import to_tensor
from pipeline_lib.methods import METHODS
from pipeline_lib.training import Batches, fit
from pipeline_lib.views import make_view
from tasks.stage import Stage, main


def run(stage: Stage) -> None:
    """Pretrain on the selected images of the source."""
    block, image = stage.params.pretrain, stage.params.image
    device = resolve_device(stage.params.device)
    seed = derive_seed(stage.params.seed, "pretrain")
    source = read_dataset(Path("data/source"))
    selection = pd.read_parquet("data/selection.parquet")
    rows = source.table["id"].isin(selection["id"]).to_numpy().nonzero()[0]
    weights = torch.tensor(selection["weight"].to_numpy())

    seed_everything(seed)
    recipe = {"encoder": block.encoder, "channels": image.channels, "size": image.size}
    encoder = from_config({**recipe, "mean": source.card["mean"], "std": source.card["std"]}, seed)
    method = with_options(
        pick(METHODS, block.method, "pretrain.method in params.yaml"), block.options, "pretrain.options"
    )
    view = partial(make_view, mean=encoder.mean, std=encoder.std, **block.views.model_dump())
    learner = method(encoder, view)
    batches = Batches(
        {"images_BCHW": to_tensor(source.images[rows]).to(device)},
        block.batch_size,
        seed,
        None if bool((weights == weights[0]).all()) else weights,
    )
    history = fit(
        learner,
        batches,
        name="pretrain",
        epochs=block.epochs,
        lr=block.lr,
        weight_decay=block.weight_decay,
        device=device,
        seed=seed,
        checkpoints=stage.checkpoints,
    )
    config = {**encoder.config(), "method": block.method, "fingerprint": stage.fingerprint}
    save_model(stage.output("models/encoder"), encoder, config)
    write_csv(stage.output("plots/pretrain.csv"), history)
    last = history.iloc[-1].drop("epoch").to_dict()
    write_json(stage.output("metrics/pretrain.json"), {**last, "images": len(rows), "epochs": block.epochs})


if __name__ == "__main__":
    main("pretrain", run)
