"""Turn the target into features of the encoders that are compared with: once, as no training changes them."""

import numpy as np

from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.files import write_json, write_npy
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.inference import finite_features
from tasks.blocks.compare import Compared
from tasks.blocks.embed import Embed
from tasks.blocks.shared import Roles
from tasks.candidates import build_named, written_of
from tasks.roles import read_both
from tasks.stage import Stage, arguments, main


class Settings(Roles, Compared):
    """What this stage reads of params.yaml."""

    embed: Embed = Embed()


def run(stage: Stage[Settings]) -> None:
    """Write one matrix for each of the encoders."""
    params = stage.params
    device, folder = resolve_device(params.device), stage.output("features/compared")
    _, target = read_both(params)
    images = Rows(target.images, np.arange(len(target)))
    described = []
    for name, one in params.compare.encoders.items():
        encoder, _ = build_named("compare", target, name, params.compare, params.seed)
        with written_of(name):
            found = finite_features(encoder, images, device, params.embed.batch_size, f"{name} of the target")
        write_npy(folder / "target" / f"{name}.npy", found)
        what = f"{one.encoder} with the weights {one.weights}, as they are"
        described.append({"name": name, "dim": encoder.num_features, "what": what})
    write_json(folder / "card.json", {"probed": described})


if __name__ == "__main__":
    arguments(__doc__ or "")
    main("compare", run, Settings)
