"""Turn both datasets into features: raw pixels and every encoder so far."""

from pathlib import Path

import numpy as np

from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.files import read_json, write_json, write_npy, write_parquet
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.dataset import read_dataset
from pipeline_lib.encoders.encoder import Encoder, from_config, load_encoder
from pipeline_lib.encoders.features import extract
from pipeline_lib.heads.model import load_multi_task
from tasks.stage import Stage, main

PRETRAINED = Path("models/encoder")


def run(stage: Stage) -> None:
    """Write one matrix per representation and dataset."""
    device = resolve_device(stage.params.device)
    folder = stage.output("features")
    untrained = from_config(read_json(PRETRAINED / "config.json"), derive_seed(stage.params.seed, "pretrain"))
    supervised, adapted = load_multi_task(Path("models/heads")), load_multi_task(Path("models/adapted"))
    encoders: dict[str, tuple[Encoder | None, str]] = {
        "pixels": (None, "raw pixels, the baseline without any learning"),
        "untrained": (untrained, "the encoder as it was before pretraining"),
        "pretrained": (load_encoder(PRETRAINED), "the encoder after self-supervised pretraining on the source"),
        "supervised": (supervised.encoder, "the encoder after training with the source's labels"),
        "adapted": (adapted.encoder, "the encoder after adaptation to the unlabelled target"),
    }
    described = []
    for name, (encoder, what) in encoders.items():
        for role in ("source", "target"):
            images = read_dataset(Path(f"data/{role}")).images
            if encoder is None:
                features = images.reshape(len(images), -1).astype(np.float32) / 255
            else:
                features = extract(encoder, images, stage.params.embed.batch_size, device, f"{name} of the {role}")
            write_npy(folder / role / f"{name}.npy", features)
        described.append({"name": name, "dim": features.shape[1], "what": what})
    for role in ("source", "target"):
        write_parquet(folder / role / "ids.parquet", read_dataset(Path(f"data/{role}")).table[["id"]])
    write_json(folder / "card.json", {"representations": described})


if __name__ == "__main__":
    main("embed", run)
