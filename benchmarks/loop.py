"""How much of the pure step rate the whole loop keeps: views, data and bookkeeping beside the model's own work.

    python -m benchmarks.loop [--device cpu] [--encoder resnet18] [--size 32] [--batch 256] [--precision 32-true]

``pure`` is the rate of the same steps (SimCLR forward, backward, AdamW) on views that were made before, with no loader
and no trainer. ``loop`` is that of the product's own ``fit``, from uint8 images; both in source images a second. The
two alternate in one process, and the medians of their rounds are compared.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine
from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.processes import keep_freed_memory
from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.methods import METHODS
from pipeline_lib.training import Batches, Hardware, fit
from pipeline_lib.training.optimisers import make_optimizer
from pipeline_lib.views import augment

PHOTOGRAPHS = {"mean": [0.48, 0.45, 0.41], "std": [0.23, 0.22, 0.23]}


def build(encoder_name: str, size: int, device: torch.device) -> Any:
    """Return SimCLR on an encoder."""
    encoder = from_config({"encoder": encoder_name, "channels": 3, "size": size, "stem": None, **PHOTOGRAPHS})
    learner = METHODS["simclr"](encoder, augment(encoder))
    return learner.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def pure_rate(arguments: argparse.Namespace, images: torch.Tensor, device: torch.device) -> float:
    """Return images a second of training steps on views that are there already."""
    learner = build(arguments.encoder, arguments.size, device)
    views = [view.contiguous(memory_format=torch.channels_last) for view in learner.views(images[: arguments.batch])]
    learner.views = lambda _: views
    optimizer = make_optimizer("adamw", learner.parameters(), 1e-3, 1e-4)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(arguments.precision)

    def step() -> None:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            loss = learner(images[: arguments.batch])["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    synchronise(device)
    start = time.perf_counter()
    for _ in range(arguments.steps):
        step()
    synchronise(device)
    return arguments.steps * arguments.batch / (time.perf_counter() - start)


def loop_rate(arguments: argparse.Namespace, images: torch.Tensor, device: torch.device) -> dict[str, float]:
    """Return what ``fit`` says of its speed, its first epoch (a step) left out."""
    learner = build(arguments.encoder, arguments.size, device)
    with tempfile.TemporaryDirectory() as folder:
        history = fit(
            learner,
            Batches({"images_BCHW": images}, arguments.batch, 0),
            name="loop",
            epochs=2,
            lr=1e-3,
            weight_decay=1e-4,
            hardware=Hardware(device, precision=arguments.precision),
            seed=0,
            checkpoints=Path(folder),
        )
    return history.attrs["speed"]


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    keep_freed_memory()
    torch.manual_seed(0)
    shape = (arguments.steps * arguments.batch, 3, arguments.size, arguments.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8).to(device)
    torch.set_float32_matmul_precision("high")
    pure, loop, waits = [], [], []
    for number in range(arguments.rounds):
        pure.append(pure_rate(arguments, images, device))
        speed = loop_rate(arguments, images, device)
        loop.append(speed["images_per_second"])
        waits.append(speed["data_wait"])
        print(f"round {number + 1}: pure {pure[-1]:.0f}, loop {loop[-1]:.0f} images a second", file=sys.stderr)
    shares = [whole / alone for whole, alone in zip(loop, pure, strict=True)]
    result = {
        "pure": round(statistics.median(pure), 1),
        "loop": round(statistics.median(loop), 1),
        "share": round(statistics.median(shares), 3),
        "data_wait": round(statistics.median(waits), 4),
        "encoder": arguments.encoder,
        "size": arguments.size,
        "batch": arguments.batch,
        "precision": arguments.precision,
        "machine": machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
