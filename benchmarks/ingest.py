"""Measure how fast folders of images are ingested: many small files, and large photographs beside the decoder alone.

``python -m benchmarks.ingest --data DIR`` writes the 60,000 images of DIR/cifar10 as JPEG files into class folders of a
temporary project, and photographs of 12 megapixels, each a mosaic of those images, and ingests both as the stage does
it. It ends with one line of JSON: ``{"files_per_second": ..., "decoder_per_second": ..., "share": ..., "megabytes":
..., "again_s": ...}``: files and peak memory of the small ones (the whole stage, with its start and the hashing of all
files), what the decoder alone does of photographs that are in memory, on as many threads, the share of that which
ingest reaches, and the seconds of the stage for the small files once more, with 100 of them new. Each is the median of
``--repeats``. ``--save`` writes results/ingest.json.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.layout import make_project
from benchmarks.machine import machine
from benchmarks.scratch import ROOT, environment
from pipeline_lib.core.files import write_json
from pipeline_lib.core.processes import num_cores
from pipeline_lib.core.progress import say
from pipeline_lib.data.framing import framed
from pipeline_lib.data.images import decode
from pipeline_lib.data.readers.folder import folder

RESULT_FILE = ROOT / "benchmarks/results/ingest.json"
NEW = 100  # files that are added before the stage runs again
SIDES = (4000, 3000)  # px of a photograph
FRAMED = {"size": 224, "channels": 3, "content": 224, "background": 0, "invert": False}
# A process inherits the peak of the one that starts it, so a small one starts the stage.
ALONE = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)"""
AIMS = {"cifar_s": 12.0, "megabytes": 500.0, "share": 0.8, "again_s": 3.0}


def main() -> None:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder with cifar10/train.parquet and test.parquet")
    parser.add_argument("--photographs", type=int, default=24, help="how many large ones")
    parser.add_argument("--repeats", type=int, default=5, help="how often each is measured")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT_FILE.relative_to(ROOT)}")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        images = list(_cifar(chosen.data / "cifar10"))
        project = make_project(Path(temporary) / "project", _edit)
        small = [_small_files(project, images) for _ in range(chosen.repeats)]
        photographs = _write_photographs(Path(temporary) / "photographs", images, chosen.photographs)
        large = [_photographs(photographs) for _ in range(chosen.repeats)]
    middle = {name: statistics.median(one[name] for one in small) for name in small[0]}
    decoder, ingested = (statistics.median(values) for values in zip(*large, strict=True))
    line = {
        "files_per_second": round((len(images) - NEW) / middle["s"]),
        "decoder_per_second": round(decoder, 1),
        "share": round(statistics.median(ours / alone for alone, ours in large), 3),
        "megabytes": round(middle["megabytes"]),
        "again_s": round(middle["again_s"], 2),
    }
    if chosen.save:
        about = {
            "files": len(images) - NEW, "cifar_s": round(middle["s"], 2), "cifar_cpu_s": round(middle["cpu_s"], 2),
            "cifar_each_s": [round(one["s"], 2) for one in small], "again_cpu_s": round(middle["again_cpu_s"], 2),
            "again_each_s": [round(one["again_s"], 2) for one in small], "photographs_per_second": round(ingested, 1),
            "share_each": [round(ours / alone, 3) for alone, ours in large], "aims": AIMS,
            "simplejpeg": find_spec("simplejpeg") is not None, "load": os.getloadavg()[2], "machine": machine(),
        }  # fmt: skip
        write_json(RESULT_FILE, {**line, **about})
    print(json.dumps(line))


def _cifar(data: Path) -> Iterator[tuple[str, bytes]]:
    for split in ("train", "test"):
        for batch in pq.ParquetFile(data / f"{split}.parquet").iter_batches(1000):
            yield from ((f"{split}/{row['label']}", row["image"]["bytes"]) for row in batch.to_pylist())


def _edit(params: dict[str, Any]) -> None:
    params["image"] = {"size": 32, "channels": 3}
    params["datasets"]["cifar"] = {"reader": "class_folders", "path": "pictures", "content": 32}
    params["labels"], params["primary"] = {"label": "multiclass"}, "label"


def _small_files(project: Path, images: list[tuple[str, bytes]]) -> dict[str, float]:
    """Return what the stage takes for all but the last files, and what it takes again, with those, too."""
    for left in ("pictures", "datasets", ".graftline"):
        shutil.rmtree(project / left, ignore_errors=True)
    _write_files(project / "pictures", images, range(len(images) - NEW))
    first = _stage(project)
    _write_files(project / "pictures", images, range(len(images) - NEW, len(images)))
    again = _stage(project)
    say(
        f"{len(images) - NEW} files: {first['s']:.1f} s and {first['megabytes']:.0f} MB, {NEW} more: {again['s']:.1f} s"
    )
    return {**first, **{f"again_{name}": value for name, value in again.items()}}


def _write_files(folder: Path, images: list[tuple[str, bytes]], which: range) -> None:
    for number in which:
        place, content = images[number]
        file = folder / place / f"{number:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    time.sleep(3)  # as long as a stage takes a file to be settled, and a little more


def _stage(project: Path) -> dict[str, float]:
    """Return the seconds, the seconds of processor time and the peak memory of the stage."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", ALONE, sys.executable, "-m", "tasks.ingest", "cifar"],
        cwd=project, env=environment(project), stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    seconds, (peak, processor) = time.perf_counter() - began, map(float, done.stdout.split())
    return {"s": seconds, "cpu_s": processor, "megabytes": peak / 1024}  # Linux counts in KiB


def _write_photographs(folder: Path, images: list[tuple[str, bytes]], num: int) -> Path:
    """Write mosaics of random images, enlarged twice, which is detail enough for a decoder to work on."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(num):
        mosaic = Image.new("RGB", SIDES)
        for top in range(0, SIDES[1], 64):
            for left in range(0, SIDES[0], 64):
                tile = Image.open(io.BytesIO(images[rng.integers(len(images))][1]))
                mosaic.paste(tile.convert("RGB").resize((64, 64)), (left, top))
        mosaic.save(folder / f"{number:03d}.jpg", quality=90)
    return folder


def _photographs(path: Path) -> tuple[float, float]:
    """Return photographs a second: decoded alone, from memory, and ingested, from files, both by all threads."""
    contents = [file.read_bytes() for file in sorted(path.iterdir())]
    with ThreadPoolExecutor(num_cores()) as pool:
        alone = _rate(len(contents), lambda: list(pool.map(lambda one: decode(one, enough=FRAMED["size"]), contents)))
    samples = folder(path, None, ()).samples
    ours = _rate(len(contents), lambda: list(framed(samples, FRAMED, {})))
    say(f"photographs a second: {alone:.1f} decoded, {ours:.1f} ingested")
    return alone, ours


def _rate(num: int, action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return num / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
