"""What a user would pick instead, beside this: lightly-train's pretraining and embedding, with scikit-learn behind.

``python -m benchmarks.peer --data DIR --python PYTHON --seeds N`` reads DIR/emoji/<vendor>.parquet. PYTHON is the
interpreter of another environment, which has lightly-train (it is under the AGPL: it is run, and nothing here depends
on it). Both get the same PNG files of 32 px, those of three vendors without labels and those of the fourth, and train
SimCLR on the former for as many epochs on the same cores. Then one linear probe judges the features of both: it learns
the categories from the fourth's training images and scores on concepts that are in no training set. It ends with one
line of JSON, means over the seeds:

``{"lightly_train": {"seconds": …, "balanced_accuracy": …}, "same_encoder": {…}, "default_encoder": {…},
"ratio": …, "epochs": N, "seeds": N}``

The seconds are those from the files to the features. ``same_encoder`` is the ResNet-18 that lightly-train takes, with
the stem for large pictures, which it keeps; ``default_encoder`` is ``small_cnn``; ``ratio`` is how much longer
lightly-train takes than ``same_encoder``, the median over the seeds. ``--save`` writes each seed's values to
benchmarks/results.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.adaptation import parser, recipe_for, save, write_rows
from benchmarks.inductive import TARGET, Task, emoji_task, pretrained_further, unlabelled
from benchmarks.rank import measured
from benchmarks.scratch import ROOT
from benchmarks.vendors import SIZE, read_emoji
from pipeline_lib.core.progress import say
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.images import decode, frame
from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.encoders.inference import features
from pipeline_lib.heads.learning import BATCH_SIZE
from tasks.blocks.pretrain import Pretrain
from tasks.stage import guarded

RESULT = ROOT / "benchmarks/results/peer.json"
PEER = """
import sys
import lightly_train

if __name__ == "__main__":
    folder, size, epochs, batch, seed = sys.argv[1], *map(int, sys.argv[2:])
    common = {"num_workers": 1, "accelerator": "cpu", "batch_size": batch}
    lightly_train.pretrain(out=f"{folder}/run", data=f"{folder}/source", model="torchvision/resnet18", method="simclr",
                           epochs=epochs, seed=seed, transform_args={"image_size": (size, size)}, **common)
    lightly_train.embed(out=f"{folder}/found.csv", data=f"{folder}/target", format="csv", image_size=(size, size),
                        checkpoint=f"{folder}/run/checkpoints/last.ckpt", **common)
"""
OURS = {"same_encoder": {"encoder": "resnet18", "stem": "original"}, "default_encoder": {}}
Found = dict[str, float]


def write_files(folder: Path, images_NCHW: np.ndarray) -> None:
    """Write images as PNG files, named by their rows."""
    folder.mkdir()
    for row, image in enumerate(images_NCHW):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{row:06d}.png")


def read_files(folder: Path) -> np.ndarray:
    """Return the images of a folder, uint8 ``[N, C, H, W]``, as the stage ``ingest`` decodes and frames them."""
    files = sorted(folder.iterdir())
    pictures = [frame(decode(file.read_bytes()), SIZE, 3, SIZE, 255, invert=False) for file in files]
    return np.stack(pictures).transpose(0, 3, 1, 2)


def by_peer(python: str, folder: Path, epochs: int, task: Task) -> np.ndarray:
    """Return lightly-train's features of the target, float32 ``[N, D]``."""
    arguments = [str(folder), str(SIZE), str(epochs), str(Pretrain().batch_size), str(task.seed)]
    subprocess.run([python, "-c", PEER, *arguments], stdout=sys.stderr, check=True)
    table = pd.read_csv(folder / "found.csv").sort_values("filename")
    return table.drop(columns="filename").to_numpy(dtype=np.float32)


def by_us(name: str, folder: Path, epochs: int, task: Task) -> np.ndarray:
    """Return our features of the target, float32 ``[N, D]``."""
    source, target = (read_files(folder / part) for part in ("source", "target"))
    encoder = from_config({**recipe_for(source), **OURS[name]}, derive_seed(task.seed, name))
    encoder = pretrained_further(encoder, name, source, task, epochs, Pretrain())
    return features(encoder, write_rows(folder / f"{name}.npy", target), task.device, BATCH_SIZE)


def run_seed(source: np.ndarray, target: np.ndarray, python: str, epochs: int, task: Task) -> dict[str, Found]:
    """Return the seconds and the balanced accuracy of each way, one after the other."""
    for part, images in (("source", source), ("target", target)):
        write_files(task.folder / part, images)
    ways = {"lightly_train": partial(by_peer, python)} | {name: partial(by_us, name) for name in OURS}
    found = {}
    for name, way in ways.items():
        began = time.monotonic()
        x_ND = way(task.folder, epochs, task)
        seconds = time.monotonic() - began
        score = measured(x_ND[task.train], task.truth[task.train], x_ND[task.test], task.truth[task.test])
        found[name] = {"seconds": round(seconds, 1), "balanced_accuracy": round(score, 4)}
        say(f"seed {task.seed}, {name}: {found[name]}")
    return found


def summary(runs: Sequence[Mapping[str, Found]], epochs: int) -> dict[str, Any]:
    """Return the line of JSON."""
    means = {
        name: {key: round(statistics.mean(run[name][key] for run in runs), 4) for key in found}
        for name, found in runs[0].items()
    }
    ratio = statistics.median(run["lightly_train"]["seconds"] / run["same_encoder"]["seconds"] for run in runs)
    return {**means, "ratio": round(ratio, 2), "epochs": epochs, "seeds": len(runs)}


def main() -> None:
    """Run the seeds and print the line."""
    options = parser(__doc__, RESULT)
    options.add_argument("--python", required=True, help="the interpreter of an environment that has lightly-train")
    options.add_argument("--epochs", type=int, default=5)
    options.add_argument("--limit", type=int, help="take so many images of each vendor")
    arguments = options.parse_args()
    emoji, concepts = read_emoji(arguments.data, arguments.limit)
    runs = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as temporary:
            task = emoji_task(emoji, concepts, seed, Path(temporary), arguments.device)
            source = unlabelled(emoji, concepts, seed)
            runs.append(run_seed(source, emoji[TARGET].images, arguments.python, arguments.epochs, task))
        line = summary(runs, arguments.epochs)
        if arguments.save:  # hours may follow: what there is, is kept
            save(RESULT, runs=runs, limit=arguments.limit, **line)
    print(json.dumps(line))


if __name__ == "__main__":
    guarded(main)
