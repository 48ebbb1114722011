"""Read the images of one dataset, decode and frame them, and write the dataset artifact."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import PIL

from pipeline_lib.core.progress import say
from pipeline_lib.core.registry import pick, with_options
from pipeline_lib.data.columns import renamed, wanted
from pipeline_lib.data.ingest import ingest
from pipeline_lib.data.kept import Kept
from pipeline_lib.data.readers import READERS
from tasks.blocks.datasets import Ingested
from tasks.blocks.image import Framed
from tasks.blocks.labels import Labelled
from tasks.blocks.shared import Drawn
from tasks.settings import written_in
from tasks.signature import fingerprint
from tasks.stage import Stage, arguments, main

FRAMES = Path(".graftline/frames")


class Settings(Labelled, Ingested, Framed, Drawn):
    """What this stage reads of params.yaml."""


def run(stage: Stage[Settings], dataset: str) -> None:
    """Ingest the dataset of this name."""
    params = stage.params
    spec = params.datasets[dataset]
    framing: dict[str, Any] = {
        "content": spec.content,
        "background": spec.background,
        "invert": spec.invert,
        "levels": list(spec.levels),
    }
    with written_in(f"datasets.{dataset}"):
        reader = with_options(pick(READERS, spec.reader, "reader"), spec.options, "options")
        reading = reader(Path(spec.path), spec.labels, wanted(list(params.labels), spec.columns))
        frames = fingerprint({
            "framing": (None, repr((params.image, sorted(framing.items()), PIL.__version__))),
            **{file: entry for file, entry in stage.inputs.items() if file.startswith("pipeline_lib/data/")},
        })  # fmt: skip
        card = ingest(
            renamed(reading, list(params.labels), spec.columns),
            params.label_kinds,
            stage.output(f"datasets/{dataset}"),
            size=params.image.size,
            channels=params.image.channels,
            max_broken=spec.max_broken,
            test_fraction=spec.test_fraction,
            limit=spec.limit,
            seed=params.seed,
            kept=Kept(FRAMES / dataset / frames, {file: digest for file, (_, digest) in stage.inputs.items()}),
            about={"reader": spec.reader, "framing": framing},
            **framing,
        )
    say(f"{dataset}: {card['num_images']} images of {'x'.join(map(str, card['shape'][1:]))}")
    for reason, count in Counter(broken["reason"] for broken in card["quarantined"]).items():
        say(f"{dataset}: {count} quarantined: {reason}")
    for mode, count in card["converted"].items():
        say(f"{dataset}: {count} of mode {mode} converted")
    for name, described in card["labels"].items():
        say(f"{dataset}: label '{name}' on {described['num_labelled']} images, {described['num_missing']} without")
    for note in card["notes"]:
        say(f"{dataset}: {note}")


if __name__ == "__main__":
    dataset = arguments(__doc__ or "", dataset="one of datasets in params.yaml").dataset
    main(f"ingest@{dataset}", partial(run, dataset=dataset), Settings)
