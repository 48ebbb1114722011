"""Measure the peak memory of every stage on 5,000 and on 20,000 images of 96 px in colour.

``python -m benchmarks.memory [--sizes 5000,20000]`` ends with one line of JSON:
``{"stages": {"ingest": {"5000": MB, "20000": MB}, ...}, "worst_ratio": ...}``. The images are random blobs with a
label, written as PNG; training is of one epoch. ``--save`` writes benchmarks/results/memory.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.layout import dataset, make_project, write_folder
from benchmarks.machine import machine
from benchmarks.scratch import ROOT, environment
from pipeline_lib.core.files import write_json
from tasks.declaration import read_stages

RESULT = ROOT / "benchmarks/results/memory.json"
SIDE = 96


def blobs(num: int, seed: int) -> tuple[list[np.ndarray], pd.DataFrame]:
    """Return smooth random pictures, uint8 ``[H, W, 3]``, of four classes that differ in colour."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 4, num)
    coarse = rng.integers(0, 200, (num, 6, 6, 3)).astype(np.uint8)
    coarse[np.arange(num), :, :, classes % 3] //= 2
    pictures = [np.repeat(np.repeat(one, SIDE // 6, axis=0), SIDE // 6, axis=1) for one in coarse]
    return pictures, pd.DataFrame({"kind": classes})


def lay_out(folder: Path, num: int) -> Path:
    """Make a project whose source and target have ``num`` images each."""
    for seed, role in enumerate(("source", "target")):
        write_folder(folder / "pictures" / role, *blobs(num, seed))

    def edit(params: dict[str, Any]) -> None:
        params["image"] = {"size": SIDE, "channels": 3}
        params["datasets"] = {
            f"{role}s": dict(dataset(folder / "pictures" / role, content=SIDE)) for role in ("source", "target")
        }
        params["source"], params["target"] = ["sources"], ["targets"]
        params["labels"], params["primary"] = {"kind": "multiclass"}, "kind"
        for block in ("pretrain", "heads", "adapt"):
            params[block]["epochs"] = 1
        params["evaluate"]["restarts"] = 1

    return make_project(folder / "project", edit, "configs/small.yaml")


def peak(project: Path, command: str) -> float:
    """Run the command of a stage and return the most memory that its process had, in MB."""
    words = [sys.executable if word == "python" else word for word in command.split()]
    process = subprocess.Popen(words, cwd=project, env=environment(project), stdout=sys.stderr)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return round(used.ru_maxrss / 1024, 1)  # Linux counts in KiB


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="5000,20000", help="numbers of images, the smaller first")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    stages: dict[str, dict[str, float]] = {}
    sizes = [int(size) for size in arguments.sizes.split(",")]
    for num in sizes:
        # In a process of its own: what this one has when it starts a stage counts for the stage.
        alone = ProcessPoolExecutor(1, get_context("spawn"))
        with tempfile.TemporaryDirectory() as temporary, alone:
            project = alone.submit(lay_out, Path(temporary), num).result()
            os.chdir(project)
            for address, declaration in read_stages().items():
                used = peak(project, declaration.cmd)
                name = address.partition("@")[0]
                stages.setdefault(name, {})[str(num)] = max(used, stages.get(name, {}).get(str(num), 0.0))
            os.chdir(ROOT)
    ratios = {name: used[str(sizes[-1])] / used[str(sizes[0])] for name, used in stages.items()}
    line = {"stages": stages, "worst_ratio": round(max(ratios.values()), 3)}
    if arguments.save:
        write_json(RESULT, {**line, "machine": machine()})
    print(json.dumps(line))


if __name__ == "__main__":
    main()
