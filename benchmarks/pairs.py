"""Run the pipeline on pairs of image sets that are not digits in a frame, laid out as a stranger would have them.

``python -m benchmarks.pairs [--only NAME] [--save]`` needs the larger test data (GRAFTLINE_TEST_DATA). Each pair goes
through ``tasks.check``, ``dvc repro`` and ``tasks.verdict`` with the defaults, but for its datasets, labels, the
size of images and the views that photographs and drawings allow. It prints each verdict and ends with one line of JSON:
``{"pairs": {"emoji_labelled": "ok", ...}, "failed": 0}``; ``--save`` writes the verdicts to benchmarks/results.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.layout import call, dataset, make_project, read_parquet, test_data, write_folder
from benchmarks.scratch import ROOT
from pipeline_lib.core.files import read_json, write_json

RESULT = ROOT / "benchmarks/results/pairs.json"
EMOJI = {"category": "multiclass", "skin_tone": "ordinal", "gender": "multiclass", "is_zwj": "binary"}
LIMIT = 800  # images of a dataset


@dataclass(frozen=True)
class Pair:
    """What a user would write: files of the test data by name, which of them keep labels, and the settings."""

    source: Mapping[str, str]
    target: Mapping[str, str]
    labels: Mapping[str, Any]
    labelled: tuple[str, ...]  # roles whose tables keep their labels
    size: int = 32
    channels: int = 3
    primary: str | None = None
    flip: float = 0.5


PAIRS: Mapping[str, Pair] = {
    "vendor_to_vendor": Pair(
        {"google": "emoji/google"}, {"openmoji": "emoji/openmoji_color"}, EMOJI, ("source", "target")
    ),
    "unlabelled_three_to_one": Pair(
        {"google": "emoji/google", "twitter": "emoji/twitter", "fluent": "emoji/fluent3d"},
        {"openmoji": "emoji/openmoji_color"},
        EMOJI,
        ("target",),
    ),
    "labelled_to_unlabelled": Pair({"twitter": "emoji/twitter"}, {"fluent": "emoji/fluent3d"}, EMOJI, ("source",)),
    "no_label_at_all": Pair({"google": "emoji/google"}, {"fluent": "emoji/fluent3d"}, {}, ()),
    "long_tail_of_98": Pair(
        {"google": "emoji/google"},
        {"twitter": "emoji/twitter"},
        {"subcategory": "multiclass", "category": "multiclass"},
        ("source", "target"),
    ),
    "photographs_to_drawings": Pair(
        {"photographs": "cifar10/test"},
        {"openmoji": "emoji/openmoji_color"},
        {"label": "multiclass", "category": "multiclass"},
        ("source", "target"),
        primary="category",
    ),
    "digits_16_to_32": Pair(
        {"usps": "mnist_usps/usps"},
        {"mnist": "mnist_usps/mnist"},
        {"label": "multiclass"},
        ("source", "target"),
        channels=1,
        flip=0.0,
    ),
}


def lay_out(folder: Path, pair: Pair) -> Path:
    """Lay the images of a pair out as folders with tables, grouped by concept where they have one, and the project."""
    datasets: dict[str, Any] = {}
    for role, files in (("source", pair.source), ("target", pair.target)):
        for name, file in files.items():
            images, table = read_parquet(test_data() / f"{file}.parquet", LIMIT)
            kept = [label for label in pair.labels if label in table and role in pair.labelled]
            columns = table[kept].copy()
            if "concept" in table:
                columns["group"] = table["concept"]
            place = write_folder(folder / "pictures" / name, images, columns)
            ground = 255 if pair.channels == 3 else 0
            datasets[name] = dict(dataset(place, content=pair.size, background=ground, test_fraction=0.3))

    def edit(params: dict[str, Any]) -> None:
        params["image"] = {"size": pair.size, "channels": pair.channels}
        params["datasets"] = datasets
        params["source"], params["target"] = list(pair.source), list(pair.target)
        params["labels"], params["primary"] = dict(pair.labels), pair.primary
        for block in ("pretrain", "heads"):
            params[block]["views"]["flip"] = pair.flip

    return make_project(folder / "project", edit)


def run(folder: Path, name: str) -> dict[str, Any]:
    """Run a pair, and return its state, seconds, verdict and what applied."""
    project = lay_out(folder / name, PAIRS[name])
    seconds = 0.0
    for command in (("tasks.check",), ("dvc", "repro"), ("tasks.verdict",)):
        code, said, took = call(project, *command)
        seconds += took
        if code:
            return {"state": f"{' '.join(command)} ended with {code}: {said[-1500:]}", "seconds": seconds}
    evaluation = read_json(project / "reports/evaluation.json")
    lines = read_json(project / "reports/verdict.json")["lines"]
    outcomes = [
        {key: row[key] for key in ("kind", "label", "outcome", "value", "not_beaten", "reason")}
        for row in evaluation["comparisons"]
    ]
    return {"state": "ok", "seconds": round(seconds, 1), "lines": lines, "outcomes": outcomes}


def main() -> None:
    """Run the pairs and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(PAIRS), action="append", help="run just these")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    parser.add_argument("--keep", type=Path, help="keep the projects in this folder")
    arguments = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.only or PAIRS:
            found[name] = run(arguments.keep or Path(temporary), name)
            print(f"\n{name}: {found[name]['state']} ({found[name]['seconds']} s)", flush=True)
            print(*found[name].get("lines", ()), sep="\n  ", flush=True)
    if arguments.save:
        earlier = read_json(RESULT) if RESULT.exists() else {}
        write_json(RESULT, {**earlier, **found})
    states = {name: result["state"] for name, result in found.items()}
    print(json.dumps({"pairs": states, "failed": sum(state != "ok" for state in states.values())}))


if __name__ == "__main__":
    main()
