"""Run the pipeline on eight shapes of labels: whoever has which labels, every run goes through.

``python -m benchmarks.shapes [--only NAME] [--flow]`` ends with one line of JSON:
``{"shapes": {"source_only": "ok", ...}, "failed": 0}``. The images are the embedded digits, a few hundred of each,
laid out as folders; ``--flow`` runs the Prefect flow too and compares what it leaves. ``--keep DIR`` keeps the
projects, with their reports, in a folder.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.layout import call, dataset, make_project, write_folder
from benchmarks.scratch import differing
from pipeline_lib.core.files import read_json
from pipeline_lib.data.readers.embedded import digits, mnist5k

NUM = {"source": 600, "target": 400}
LABELS = {"digit": "multiclass", "has_loop": "binary", "size": "ordinal", "ink": "regression"}
Tables = dict[str, pd.DataFrame]
# Changes both tables to those of the shape.
Shape = Callable[[Tables], None]


def both(tables: Tables) -> None:
    """Leave all labels on both sides."""


def source_only(tables: Tables) -> None:
    """Take the target's labels away."""
    tables["target"].drop(columns=list(LABELS), inplace=True)


def target_only(tables: Tables) -> None:
    """Take the source's labels away."""
    tables["source"].drop(columns=list(LABELS), inplace=True)


def neither(tables: Tables) -> None:
    """Take all labels away."""
    source_only(tables)
    target_only(tables)


def different_tasks(tables: Tables) -> None:
    """Label the source with some tasks and the target with the others."""
    tables["source"].drop(columns=["digit", "ink"], inplace=True)
    tables["target"].drop(columns=["has_loop", "size"], inplace=True)


def half_missing(tables: Tables) -> None:
    """Take half of every label away, at random."""
    rng = np.random.default_rng(0)
    for table in tables.values():
        for name in LABELS:
            table[name] = table[name].where(rng.random(len(table)) < 0.5)


def rare_class(tables: Tables) -> None:
    """Leave three images of one class in each table."""
    for table in tables.values():
        rare = table.index[table["digit"] == 7]
        table.loc[rare[3:], "digit"] = 1


def groups(tables: Tables) -> None:
    """Put the images of both sides into forty groups, some of which are in both."""
    rng = np.random.default_rng(0)
    for table in tables.values():
        table["group"] = [f"person {number}" for number in rng.integers(0, 40, len(table))]


SHAPES: Mapping[str, Shape] = {
    "both": both,
    "source_only": source_only,
    "target_only": target_only,
    "neither": neither,
    "different_tasks": different_tasks,
    "half_missing": half_missing,
    "rare_class": rare_class,
    "groups": groups,
}


def lay_out(pictures: Path, shape: Shape) -> None:
    """Write the images and tables of a shape into the folders source and target of ``pictures``."""
    samples = {"source": mnist5k(Path(), None, ()).samples, "target": digits(Path(), None, ()).samples}
    chosen = {role: samples[role][:: len(samples[role]) // num][:num] for role, num in NUM.items()}
    images = {role: [np.asarray(sample.load()) for sample in found] for role, found in chosen.items()}
    tables = {}
    for role, found in chosen.items():
        ink = [float(image.mean()) for image in images[role]]
        size = pd.qcut(ink, 3, labels=["light", "medium", "heavy"]).astype(str)
        tables[role] = pd.DataFrame([dict(sample.labels) for sample in found]).assign(size=size, ink=ink)
    shape(tables)
    for role, table in tables.items():
        write_folder(pictures / role, images[role], table)


def project_of(folder: Path, pictures: Path) -> Path:
    """Make a project in ``folder`` for the images in ``pictures``."""

    def edit(params: dict[str, Any]) -> None:
        params["datasets"] = {
            "mnist": dict(dataset(pictures / "source", content=28)),
            "digits": dict(dataset(pictures / "target", content=20, test_fraction=0.5)),
        }
        order = {"kind": "ordinal", "order": ["light", "medium", "heavy"]}
        params["labels"] = {**LABELS, "size": order}

    return make_project(folder, edit, "configs/small.yaml")


def run(folder: Path, name: str, with_flow: bool) -> str:
    """Run a shape and say "ok", or what went wrong."""
    pictures = folder / name / "pictures"
    lay_out(pictures, SHAPES[name])
    project = project_of(folder / name / "repro", pictures)
    code, said, seconds = call(project, "dvc", "repro")
    if code:
        return f"dvc repro ended with {code}: {said[-2000:]}"
    lines = read_json(project / "reports/verdict.json")["lines"]
    print(f"\n{name} ({seconds} s)", *lines, sep="\n  ", flush=True)
    if with_flow:
        other = project_of(folder / name / "flow", pictures)
        code, said, seconds = call(other, "flows.pipeline")
        if code:
            return f"the flow ended with {code}: {said[-2000:]}"
        if changed := differing(project, other):
            return f"the flow left other bytes: {', '.join(changed)}"
    return "ok"


def main() -> None:
    """Run the shapes and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(SHAPES), action="append", help="run just these")
    parser.add_argument("--flow", action="store_true", help="run the Prefect flow too")
    parser.add_argument("--keep", type=Path, help="keep the projects in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        found = {name: run(folder, name, arguments.flow) for name in arguments.only or SHAPES}
    print(json.dumps({"shapes": found, "failed": sum(result != "ok" for result in found.values())}))


if __name__ == "__main__":
    main()
