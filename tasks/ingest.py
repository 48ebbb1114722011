"""Read the images of one role, decode and frame them, and write the dataset artifact."""

from collections import Counter
from functools import partial
from pathlib import Path

from pipeline_lib.core.progress import say
from pipeline_lib.core.registry import pick
from pipeline_lib.data.dataset import write_dataset
from pipeline_lib.data.ingest import ingest
from pipeline_lib.data.readers import READERS
from tasks.stage import Stage, arguments, main


def run(stage: Stage, role: str) -> None:
    """Ingest the source or the target."""
    params = stage.params
    spec = params.source if role == "source" else params.target
    reader = pick(READERS, spec.reader, f"{role}.reader in params.yaml")
    reading = reader(Path(spec.path), spec.labels, tuple(params.labels))
    images, table, card = ingest(
        reading,
        params.labels,
        size=params.image.size,
        channels=params.image.channels,
        content=spec.content,
        background=spec.background,
        invert=spec.invert,
        levels=spec.levels,
        max_broken=spec.max_broken,
        test_fraction=spec.test_fraction,
        limit=spec.limit,
        seed=params.seed,
    )
    write_dataset(stage.output(f"data/{role}"), images, table, {"role": role, "reader": spec.reader, **card})
    say(f"{role}: {len(table)} images of {'x'.join(map(str, images.shape[1:]))}")
    for reason, count in Counter(broken["reason"] for broken in card["quarantined"]).items():
        say(f"{role}: {count} quarantined: {reason}")
    for mode, count in card["converted"].items():
        say(f"{role}: {count} of mode {mode} converted")
    for name, described in card["labels"].items():
        say(f"{role}: label '{name}' on {described['num_labelled']} images, {described['num_missing']} without")


if __name__ == "__main__":
    role = arguments(__doc__, role=["source", "target"]).role
    main(f"ingest_{role}", partial(run, role=role))
