"""Turn the target, and a sample of the source, into features of every encoder so far."""

from pathlib import Path

import numpy as np

from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.files import read_json, write_json, write_npy
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.encoder import load_encoder
from pipeline_lib.encoders.inference import features
from pipeline_lib.heads.model import load_multi_task
from tasks.blocks.embed import Embed
from tasks.blocks.shared import Computed, Drawn, Roles
from tasks.roles import read_both
from tasks.stage import Stage, arguments, main

STARTS = {"random": "its random weights", "hub": "the weights given by timm", "file": "the given weights"}


class Settings(Roles, Computed, Drawn):
    """What this stage reads of params.yaml."""

    embed: Embed = Embed()


def run(stage: Stage[Settings], training: int) -> None:
    """Write one matrix per representation and role, of the training with this seed."""
    params, block = stage.params, stage.params.embed
    device, folder = resolve_device(params.device), stage.output(f"features/{training}")
    source, target = read_both(params)
    # The same images in every training, so that what differs is the training.
    rng = np.random.default_rng(derive_seed(params.seed, "embed"))
    sample = np.sort(rng.permutation(len(source))[: block.source_sample])
    rows = {"source": Rows(source.images, sample), "target": Rows(target.images, np.arange(len(target)))}
    pretrained, scratch = Path(f"models/encoder/{training}"), Path(f"models/heads/{training}/scratch")
    config = read_json(pretrained / "config.json")
    start = STARTS[config["weights"]]
    supervised, adapted = (load_multi_task(Path(f"models/{name}/{training}")) for name in ("heads", "adapted"))
    encoders = {
        "start": (load_encoder(pretrained / "start"), f"the encoder before pretraining, with {start}"),
        "pretrained": (load_encoder(pretrained), f"the encoder after pretraining on the source by {config['method']}"),
        "supervised": (supervised.encoder, "the encoder after training with the labels"),
        "adapted": (adapted.encoder, "the encoder after adaptation to the unlabelled target"),
    }
    described, probed = [], []
    for name, (encoder, what) in encoders.items():
        for role, images in rows.items():
            found = features(encoder, images, device, block.batch_size, f"{name} of the {role}")
            write_npy(folder / role / f"{name}.npy", found)
        described.append({"name": name, "dim": encoder.num_features, "what": what})
    if scratch.exists():
        # It is probed and nothing else, so that the source is not needed.
        encoder = load_encoder(scratch)
        found = features(encoder, rows["target"], device, block.batch_size, "scratch of the target")
        write_npy(folder / "target/scratch.npy", found)
        what = "the same encoder after training with the labels from random weights"
        probed.append({"name": "scratch", "dim": encoder.num_features, "what": what})
    write_npy(folder / "source/rows.npy", sample)
    write_json(folder / "card.json", {"representations": described, "probed": probed})


if __name__ == "__main__":
    training = arguments(__doc__ or "", training="one of seeds in params.yaml").training
    main(f"embed@{training}", lambda stage: run(stage, int(training)), Settings)
