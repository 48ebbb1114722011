"""Run the embedded default over several seeds and report what it reaches, as mean and spread.

``python -m benchmarks.default_quality --seeds 3`` ends with one line of JSON: the accuracy on the target without a
target label after adaptation, and for every representation the clustering accuracy (k-means in UMAP space, as the
verdict declares, and on the features themselves) and the accuracy of a probe with 5 labels a class, each the mean over
the seeds. ``--save`` also writes the spread of every number over the seeds, the wall time and the versions to
benchmarks/default_quality.json.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.scratch import ROOT, copy_project, environment
from pipeline_lib.core.files import read_json, write_json

PACKAGES = ("torch", "lightly", "scikit-learn", "umap-learn")
RESULT = ROOT / "benchmarks/default_quality.json"


def run_seed(folder: Path, seed: int) -> dict[str, Any]:
    """Run the whole pipeline with ``seed`` in ``folder`` and return its metrics and its seconds."""
    params = folder.with_suffix(".yaml")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("\nseed: 0 ", f"\nseed: {seed} ").replace("\nseeds: [0] ", f"\nseeds: [{seed}] ")
    params.write_text(text, encoding="utf-8")
    project = copy_project(folder, params)
    start = time.monotonic()
    command = [sys.executable, "-m", "dvc", "repro"]
    subprocess.run(command, cwd=project, env=environment(project), stdout=sys.stderr, check=True)
    seconds = time.monotonic() - start
    return {"seed": seed, "seconds": round(seconds, 1), **read_json(project / "metrics/evaluate.json")}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the line of JSON: means over the runs of the numbers that are promised."""

    def mean(key: str) -> float:
        return round(statistics.mean(run[key] for run in runs), 4)

    def by_representation(before: str, after: str) -> dict[str, float]:
        keys = [key for key in runs[0] if key.startswith(before) and key.endswith(after)]
        return {key.removeprefix(before).removesuffix(after): mean(key) for key in keys}

    return {
        "target_accuracy_no_labels": mean("target.auto.digit.accuracy"),
        "clustering_accuracy": by_representation("clustering.umap.kmeans.", ".accuracy"),
        "clustering_accuracy_features": by_representation("clustering.features.kmeans.", ".accuracy"),
        "probe_5_per_class": by_representation("probe.", ".5"),
        "seeds": len(runs),
    }


def spread(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return mean, standard deviation, least and greatest of every number over the runs."""
    table = {}
    for key in runs[0]:
        values = [run[key] for run in runs]
        if key != "seed" and None not in values:
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            row = {"mean": statistics.mean(values), "std": deviation, "min": min(values), "max": max(values)}
            table[key] = {name: round(value, 4) for name, value in row.items()}
    return table


def main() -> None:
    """Run the seeds and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        runs = [run_seed(Path(temporary) / str(seed), seed) for seed in range(arguments.seeds)]
    line = summary(runs)
    if arguments.save:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        versions = {name: version(name) for name in PACKAGES}
        write_json(RESULT, {"summary": line, "spread": spread(runs), **machine, "versions": versions})
    print(json.dumps(line))


if __name__ == "__main__":
    main()
