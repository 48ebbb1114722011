"""Compare the speed of random views with that of other libraries, all making the same changes.

``python -m benchmarks.views --size 32 --blur`` ends with one line of JSON: source images a second, from each of which
two views are made, and for every peer the ratio of ours to it. The changes are SimCLR's: crops of 0.08-1 of the area,
flip, jitter of brightness, contrast, saturation and hue, grayscale, with ``--blur`` blur, and normalisation; from
uint8 images of the size of the views to float batches. Everything on the host runs on one thread. The rounds of all
peers alternate, so that a busy machine slows each alike; rates are medians over the rounds, ratios are medians of the
ratios within a round. On a CUDA device ``ms_per_step`` says how long two views of 256 images take. Two things differ:
the peers clamp colours after each change, ours after the last, and ours turn the hue in YIQ, theirs in HSV.

- ``lightly``: ``SimCLRTransform`` on Pillow images, decoded beforehand, in one process.
- ``kornia``: its augmentations on batches on the device; ``kornia_compiled`` (CUDA) the same through torch.compile.
- ``torchvision``: ``transforms.v2`` on the device, image by image, since on a batch all would share their parameters.
"""

import argparse
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from benchmarks.machine import machine
from pipeline_lib.core.files import write_json
from pipeline_lib.core.processes import keep_freed_memory
from pipeline_lib.views import View, make_view

Step = Callable[[], list[Tensor]]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
JITTER = (0.8, 0.8, 0.8, 0.2)
# px; the peers that work on tensors want a kernel: this one reaches three times the greatest sigma.
KERNEL, SIGMAS = 13, (0.1, 2.0)


def ours(images: Tensor, size: int, blur: float) -> Step:
    """Return the step of ``make_view``."""
    strengths = replace(View(), brightness=JITTER[0], contrast=JITTER[1], saturation=JITTER[2], hue=JITTER[3])
    view = replace(strengths, min_scale=0.08, flip=0.5, jitter=0.8, grayscale=0.2, blur=blur)
    mean, std = torch.tensor(MEAN, device=images.device), torch.tensor(STD, device=images.device)
    return lambda: [make_view(images, view, mean, std, size=size) for _ in range(2)]


def lightly(images: Tensor, size: int, blur: float) -> Step:
    """Return the step of lightly: both views of an image, then the two batches."""
    from lightly.transforms.simclr_transform import SimCLRTransform

    normalise = {"mean": list(MEAN), "std": list(STD)}
    transform = SimCLRTransform(input_size=size, gaussian_blur=blur, normalize=normalise)
    pictures = [to_pil_image(image) for image in images.cpu()]

    def step() -> list[Tensor]:
        pairs = [transform(picture) for picture in pictures]
        return [torch.stack(views).to(images.device) for views in zip(*pairs, strict=True)]

    return step


def kornia(images: Tensor, size: int, blur: float, compiled: bool = False) -> Step:
    """Return the step of kornia's augmentations on batches."""
    from kornia import augmentation as K

    # Slices are cut image by image, which is the faster way on a CPU and the slower one on a GPU.
    mode = "slice" if images.device.type == "cpu" else "resample"
    changes = nn.Sequential(
        K.RandomResizedCrop((size, size), scale=(0.08, 1.0), cropping_mode=mode),
        K.RandomHorizontalFlip(p=0.5),
        K.ColorJitter(*JITTER, p=0.8),
        K.RandomGrayscale(p=0.2),
        *([K.RandomGaussianBlur((KERNEL, KERNEL), SIGMAS, p=blur)] if blur else []),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    ).to(images.device)
    change = torch.compile(changes) if compiled else changes
    return lambda: [change(images.float() / 255) for _ in range(2)]


def kornia_compiled(images: Tensor, size: int, blur: float) -> Step:
    """Return the step of kornia through torch.compile."""
    return kornia(images, size, blur, compiled=True)


def torchvision(images: Tensor, size: int, blur: float) -> Step:
    """Return the step of torchvision's second transforms, image by image."""
    changes = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.08, 1.0)),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomApply([v2.ColorJitter(*JITTER)], 0.8),
            v2.RandomGrayscale(0.2),
            *([v2.RandomApply([v2.GaussianBlur(KERNEL, SIGMAS)], blur)] if blur else []),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    return lambda: [torch.stack([changes(image) for image in images]) for _ in range(2)]


PEERS = {peer.__name__: peer for peer in (lightly, kornia, kornia_compiled, torchvision)}


def source_images(num: int, size: int) -> Tensor:
    """Return uint8 ``[num, 3, size, size]``: CIFAR-10 at 32 px where GRAFTLINE_TEST_DATA has it, else drawn ones."""
    folder = os.environ.get("GRAFTLINE_TEST_DATA")
    cifar = Path(folder or ".") / "cifar10/test.parquet"
    if folder and size == 32 and cifar.exists():
        cells = pd.read_parquet(cifar, columns=["image"])["image"][:num]
        return torch.stack([pil_to_tensor(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")) for cell in cells])
    generator = torch.Generator().manual_seed(0)
    images = torch.full((num, 3, size, size), 0.5)
    # Like photographs: each octave of detail varies as much as the next.
    for octave in range(1, size.bit_length()):
        noise = torch.rand(num, 3, 2**octave, 2**octave, generator=generator) - 0.5
        images += 0.4 * F.interpolate(noise, size=(size, size), mode="bicubic")
    return (images.clamp(0, 1) * 255).to(torch.uint8)


def rate(step: Step, num: int, seconds: float, device: torch.device) -> float:
    """Repeat ``step`` for at least ``seconds`` and return source images a second."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step()
        done += 1
    _wait(device)
    return done * num / (time.perf_counter() - start)


def measure(steps: dict[str, Step], num: int, rounds: int, seconds: float, device: torch.device) -> dict[str, Any]:
    """Return the median rate of each step and the median ratios of ours to the others."""
    for name, step in steps.items():
        _say(f"{name}: warming up")
        for _ in range(2 if device.type == "cpu" else 5):
            step()
        _wait(device)
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name, step in steps.items():
            rates[name].append(rate(step, num, seconds, device))
        _say(f"round {number + 1} of {rounds}: " + ", ".join(f"{name} {row[-1]:.0f}/s" for name, row in rates.items()))
    medians = {name: statistics.median(row) for name, row in rates.items()}
    ratios = {
        name: statistics.median(own / other for own, other in zip(rates["ours"], row, strict=True))
        for name, row in rates.items()
        if name != "ours"
    }
    line: dict[str, Any] = {name: round(value, 1) for name, value in medians.items()}
    line["ratio"] = {name: round(value, 2) for name, value in ratios.items()}
    if device.type == "cuda":
        line["ms_per_step"] = {name: round(256_000 / value, 3) for name, value in medians.items()}
    return line


def installed(names: list[str]) -> list[str]:
    """Return the peers whose package is here, and say which are left out."""
    missing = [name for name in names if not find_spec(name.partition("_")[0])]
    for name in missing:
        _say(f"{name}: not installed, left out")
    return [name for name in names if name not in missing]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32, help="px of the images and of the views")
    parser.add_argument("--blur", action="store_true", help="also blur, with probability 0.5")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="such as cpu or cuda")
    parser.add_argument("--peers", help=f"from {','.join(PEERS)}; all that suit the device if left out")
    parser.add_argument("--batch", type=int, default=256, help="images in a step")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of every peer")
    parser.add_argument("--seconds", type=float, default=0.3, help="the least that a round lasts")
    parser.add_argument("--out", type=Path, help="also write the line to this file")
    arguments = parser.parse_args()
    device, size, blur = arguments.device, arguments.size, 0.5 if arguments.blur else 0.0
    suiting = [name for name in PEERS if device.type == "cuda" or name != "kornia_compiled"]
    names = arguments.peers.split(",") if arguments.peers else suiting
    if unknown := [name for name in names if name not in suiting]:
        parser.error(f"--peers: {', '.join(unknown)} is not one of {', '.join(suiting)} on {device.type}")
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.manual_seed(0)
    images = source_images(arguments.batch, size).to(device)
    steps = {"ours": ours(images, size, blur)} | {name: PEERS[name](images, size, blur) for name in installed(names)}
    line = measure(steps, len(images), arguments.rounds, arguments.seconds, device)
    line |= {"size": size, "blur": arguments.blur, "device": device.type, "batch": len(images)}
    line |= {"rounds": arguments.rounds, "machine": machine()}
    if arguments.out:
        write_json(arguments.out, line)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
