"""What a self-supervised start is worth on photographs with few labels: beside training from scratch, and ImageNet.

``python -m benchmarks.few_labels --data DIR --seeds N`` reads DIR/cifar10/test.parquet, 10,000 photographs, of which a
fifth scores. SimCLR sees the others without labels and makes a start for a ``small_cnn``; then 1, 5, 10, 50 and all
labels a class are shown. It ends with one line of JSON, of balanced accuracies as means over the seeds, by the number
of labels:

``{"labels": {"10": {"pixels": …, "frozen": …, "lp_ft": …, "scratch": …, "auto": …, "lite0": …}, …},
"labels_saved": …, "seeds": N}``

The names are those of benchmarks.inductive. ``--save`` writes every seed to benchmarks/results.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.adaptation import parser, read_images, save, write_rows
from benchmarks.inductive import (
    ALL,
    LITE0,
    LITE0_SIZE,
    Scale,
    Task,
    by_budget,
    has_lite0,
    judged,
    learnt,
    lite0,
    summary,
)
from benchmarks.scratch import ROOT
from pipeline_lib.core.compute import resolve_device
from tasks.stage import guarded

RESULT = ROOT / "benchmarks/results/few_labels.json"
SIZE = 32  # px
SCALE = Scale(None, 20, (1, 5, 10, 50, ALL), ("frozen", "lp_ft", "scratch"))


def run_seed(small: np.ndarray, large: np.ndarray, scale: Scale, task: Task) -> Any:
    """Return what everything reaches, by the number of labels and name; ``large`` are the images for ImageNet."""
    larger = replace(task, rows=write_rows(task.folder / "larger.npy", large))

    def of_imagenet(shown: np.ndarray) -> dict[str, dict[str, float]]:
        if not has_lite0():
            return {}
        return {LITE0: judged(*learnt(f"{LITE0} {len(shown)}", "frozen", lite0(), shown, larger), larger)}

    return by_budget(small[task.train], scale, task, of_imagenet)


def line_of(runs: list[Mapping[int, Mapping[str, Mapping[str, float]]]]) -> dict[str, Any]:
    """Return the line of JSON."""
    said, curves = summary(runs)
    sizes = sorted(curves["scratch"])
    labels = {str(size): {name: round(curve[size], 4) for name, curve in curves.items()} for size in sizes}
    return {"labels": labels, "labels_saved": said["labels_saved"], "seeds": len(runs)}


def main() -> None:
    """Run the seeds and print the line."""
    arguments = parser(__doc__, RESULT).parse_args()
    file = arguments.data / "cifar10/test.parquet"
    (small, table), (large, _) = (read_images(file, size, channels=3, background=0) for size in (SIZE, LITE0_SIZE))
    truth = table["label"].to_numpy().astype(str).astype(object)
    runs = []
    for seed in range(arguments.seeds):
        order = np.random.default_rng(seed).permutation(len(truth))
        with tempfile.TemporaryDirectory() as folder:
            task = Task(
                rows=write_rows(Path(folder) / "images.npy", small),
                truth=truth,
                concepts=np.arange(len(truth)).astype(str).astype(object),
                train=np.sort(order[len(order) // 5 :]),
                test=np.sort(order[: len(order) // 5]),
                seed=seed,
                device=resolve_device(arguments.device),
                folder=Path(folder),
            )
            runs.append(run_seed(small, large, SCALE, task))
        line = line_of(runs)
        if arguments.save:  # hours may follow: what there is, is kept
            save(RESULT, runs=runs, **line)
    print(json.dumps(line))


if __name__ == "__main__":
    guarded(main)
