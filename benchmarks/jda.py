"""Carry digits over between MNIST and USPS, by the protocol of the papers that share this subset (JDA, Long 2013).

``python -m benchmarks.jda --data DIR --seeds N`` reads DIR/mnist_usps/{mnist,usps}.parquet. All images of the source
train with their labels, and all of the target without; all of the target score. It ends with one line of JSON, the
accuracies on the target as means over the seeds:
``{"mnist_usps": {"source_only": …, "adabn": …, …, "auto": …, "oracle": …}, "usps_mnist": {…}}``. ``auto`` is what
is chosen without a label of the target among the adapters of the default, ``auto_of_all`` among all of them, and
``oracle`` is the best by labels. ``--save`` writes each seed's values, their spread and the seconds of each method to
benchmarks/results.
"""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.adaptation import (
    Labelled,
    Run,
    Setting,
    adapt_block,
    carry_over,
    file_of,
    judge,
    means,
    parser_of_adapters,
    read_images,
    save,
    spread,
)
from benchmarks.scratch import ROOT
from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.progress import say
from tasks.stage import guarded

RESULT = ROOT / "benchmarks/results/jda.json"
DIRECTIONS = (("mnist", "usps"), ("usps", "mnist"))
SIZE = 28  # px, the pipeline's default; the files have 16
METRIC = "accuracy"  # that of the papers


def read_digits(data: Path, name: str) -> Labelled:
    """Return the digits of ``mnist`` or ``usps``."""
    images, table = read_images(data / f"mnist_usps/{name}.parquet", SIZE, channels=1, background=0)
    return Labelled(images, table["label"].to_numpy(dtype=np.int64))


def run_direction(source: Labelled, target: Labelled, seed: int, setting: Setting) -> Run:
    """Run every method in one direction."""
    return judge(carry_over(source, target.images, seed, setting), target.classes, METRIC)


def main() -> None:
    """Run the seeds in both directions and print the line."""
    arguments = parser_of_adapters(__doc__, RESULT).parse_args()
    digits = {name: read_digits(arguments.data, name) for name in ("mnist", "usps")}
    setting = Setting(adapt=adapt_block(arguments), device=resolve_device(arguments.device))
    runs: dict[str, list[Run]] = defaultdict(list)
    for source, target in DIRECTIONS:
        for seed in range(arguments.seeds):
            say(f"{source} to {target}: seed {seed + 1} of {arguments.seeds}")
            runs[f"{source}_{target}"].append(run_direction(digits[source], digits[target], seed, setting))
            if arguments.save:  # hours may follow: what there is, is kept
                found_yet = {direction: spread(found) for direction, found in runs.items()}
                save(file_of(RESULT, arguments), directions=found_yet)
    print(json.dumps({direction: means(found, METRIC) for direction, found in runs.items()}))


if __name__ == "__main__":
    guarded(main)
