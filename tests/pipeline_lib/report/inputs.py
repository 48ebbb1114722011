"""Inputs of the report of any shape: invented numbers over random pictures."""

from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.data.roles import Role
from tests.pipeline_lib.report.evaluations import REPRESENTATIONS, make_comparison, make_evaluation, make_task

SETTINGS = "# Every knob.\n\nseed: 0  # of chance\n\nreport:\n  title: Title  # of the page\n"


def make_inputs(
    *,
    classes: tuple[str, ...] = ("cat", "dog"),
    num: int = 12,
    size: int = 8,
    channels: int = 1,
    labelled: bool = True,
    datasets: tuple[str, ...] = ("photos",),
    path: str = "folder/*.png",
    text: str = "plain",
    evaluation: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the arguments of render_page; ``text`` is put wherever a sentence, name or reason is free text.

    The primary label is "kind".
    """
    rng = np.random.default_rng(0)
    source = make_role("source", classes, num, size, channels, True, ("drawings",), path, text)
    target = make_role("target", classes, num, size, channels, labelled, datasets, path, text)
    ids = target.table["id"]
    return {
        "title": text,
        "evaluation": evaluation or _evaluation(classes, labelled, text),
        "findings": make_findings(text),
        "selection": [text],
        "source": source,
        "target": target,
        "projections": pd.concat(
            pd.DataFrame(
                {
                    "id": ids,
                    "representation": name,
                    "method": method,
                    "x": rng.normal(size=num).astype(np.float32),
                    "y": rng.normal(size=num).astype(np.float32),
                }
            )
            for name in REPRESENTATIONS
            for method in ("pca", "umap")
        ),
        "predictions": pd.DataFrame(
            {
                "id": ids,
                "model": "shot_im",
                "label": "kind",
                "predicted_class": pd.array([classes[row % len(classes)] for row in range(num)], dtype="string"),
                "predicted_value": np.nan,
            }
        ),
        "model": "shot_im",
        "metrics": {"pretrain/0": {"loss": 1.5, text: None}},
        "curves": {
            "pretrain/0": pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.5], text: [np.nan, 1.0, 2.0]}),
            "pretrain/1": pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.5, 1.5]}),
            "heads/0": pd.DataFrame({"model": ["frozen", "frozen", text, text], "epoch": [1, 2, 1, 2], "loss": 1.0}),
            "label_efficiency": pd.DataFrame({"labels_per_class": [1], "value": [0.5]}),
        },
        "settings": SETTINGS + f"x: {text}  # {text}\n",
        "thumbnails": 100,
        "seed": 0,
    }


def _evaluation(classes: tuple[str, ...], labelled: bool, text: str) -> dict[str, Any]:
    tasks = [make_task("kind", tested=200 if labelled else 0), make_task(text, "regression")]
    outcomes = ("helped", "unclear", "harmed", "helped") if labelled else ("not_measurable",) * 4
    kinds = ("self-taught", "multi-task", "transductive", "unsupervised")
    rows = [make_comparison(kind, "kind", outcome) for kind, outcome in zip(kinds, outcomes, strict=True)]
    if labelled:
        rows.append(make_comparison("multi-task", text, "not_measurable", reason="too_few_images"))
    return make_evaluation(
        rows,
        tasks,
        "kind",
        classes=classes if labelled else (),
        scored=labelled,
        representations=[{"name": name, "dim": 8, "what": text} for name in REPRESENTATIONS],
    )


def make_role(
    role: str,
    classes: tuple[str, ...],
    num: int,
    size: int,
    channels: int,
    labelled: bool,
    datasets: tuple[str, ...],
    path: str,
    text: str,
) -> Role:
    """Return ``num`` random pictures over ``datasets`` in turn, their classes in turn."""
    images: Any = np.random.default_rng(len(role)).integers(0, 256, (num, size, size, channels)).astype(np.uint8)
    table = pd.DataFrame(
        {
            "dataset": [datasets[row % len(datasets)] for row in range(num)],
            "id": [f"{datasets[row % len(datasets)]}/{row:07d}" for row in range(num)],
            "path": [path.replace("*", str(row)) for row in range(num)],
            "sha256": "0" * 64,
            "split": ["train", "test"] * (num // 2),
            "key": [str(row) for row in range(num)],
            "group": pd.array([None] * num, dtype="string"),
            "flags": "",
            "near_test": False,
            "label.kind": pd.array([classes[row % len(classes)] if labelled else None for row in range(num)], "string"),
        }
    )
    card = {
        "num_images": num,
        "shape": list(images.shape),
        "mean": [0.5] * channels,
        "std": [0.3] * channels,
        "splits": {"test": num // 2, "train": num // 2},
        "labels": {"kind": _described(classes, num)} if labelled else {},
        "quarantined": [{"path": path.replace("*", "broken"), "reason": text}],
        "converted": {"RGBA": 2},
        "original_sizes": {f"{size}x{size}": num},
    }
    return Role(role, images, table, dict.fromkeys(datasets, card))


def make_findings(text: str) -> list[dict[str, str]]:
    """Return a finding of each severity."""
    told = {"about": "shift", "sentence": text, "effect": text, "advice": text}
    return [{"level": level, **told} for level in ("blocking", "warning", "info")]


def make_audit(roles: dict[str, Role], text: str = "plain") -> dict[str, Any]:
    """Return the content of audit.json."""
    counts = {"quarantined": 1, "blank": 0, "duplicates_within": 0, "duplicates_across_splits": 0}
    near = {
        "count": 1,
        "num_images": 20,
        "examples": [[roles["source"].table["id"][0], roles["target"].table["id"][1]]],
        "expected_recall": {"cropped": 0.9},
        "expected_false": 0.1,
    }
    sets = {}
    for name, role in roles.items():
        labels = next(iter(role.cards.values()))["labels"]
        first = role.table.iloc[1]
        sets[name] = {
            "num_images": len(role),
            **counts,
            "moved": 3,
            "near_duplicates_within": near,
            "near_leaks": {**near, "examples": [list(role.table["id"][:2])]},
            "datasets": {dataset: _counts(role, dataset) for dataset in role.cards},
            "labels": {label: {**one, "imbalance": 1.0, "effective_classes": 2.0} for label, one in labels.items()},
            "label_errors": {
                label: {
                    "share": 0.1,
                    "count": 1,
                    "doubtful": 3,
                    "num_judged": 10,
                    "rate": 0.08,
                    "rate_low": 0.02,
                    "expected_false": 0.25,
                    "noticed_from": 0.05,
                    "recall": 0.9,
                    "worst": [{"id": first["id"], "path": first["path"], "given": text, "suggested": text}],
                }
                for label in labels
            },
            "labels_by_dataset": {
                label: {"association": 0.5, "only_in": [{"class": text, "dataset": text, "count": 9}]}
                for label in labels
            },
            "quality": {
                "num_judged": len(role),
                "poor": {"dark": {"count": 1, "examples": [first["id"]]}, "grey": {"count": 0, "examples": []}},
                "tiny": 0,
                "odd_aspect": 0,
            },
            "groups": {"num_groups": 4, "largest": 3, "correlation": 0.5, "effective": 6},
        }
    shift = {"domain_auc": 0.9, "proxy_a_distance": 1.2, "mmd2": 0.1, "mmd_p_value": 0.01, "frechet_distance": 3.0}
    examples = [[roles["source"].table["id"][0], roles["target"].table["id"][1]]]
    return {
        "shift": shift,
        "features": {"name": text, "shift": shift},
        "telling": {
            name: {"own": list(role.table["id"][:2]), "other": list(role.table["id"][2:4])}
            for name, role in roles.items()
        },
        "sets": sets,
        "label_pairs": [{"labels": ["kind", text], "source": 0.5, "target": None, "p_value": None}],
        "priors": {
            label: {
                "classes": [text, "b"],
                "source": [0.5, 0.5],
                "target": [0.6, 0.4],
                "deviation": [0.01, 0.02],
                "condition": 3.0,
                "reason": None,
            }
            for label in sets["source"]["labels"]
        },
        "duplicates_across": {"count": 1, "examples": examples},
        "near_duplicates_across": near,
        "same_images": False,
        "shared": 2,
        "same_files": 0,
        "findings": make_findings(text),
    }


def _counts(role: Role, dataset: str) -> dict[str, Any]:
    split = role.table.loc[role.table["dataset"] == dataset, "split"]
    counts = {name: int((split == name).sum()) for name in ("train", "test")}
    return {"num_images": len(split), **counts, "quarantined": 1, "blank": 0, "labelled": {"kind": len(split)}}


def _described(classes: tuple[str, ...], num: int) -> dict[str, Any]:
    names = [classes[row % len(classes)] for row in range(num)]
    counts = [names.count(name) for name in classes]
    return {"kind": "multiclass", "classes": list(classes), "counts": counts, "num_labelled": num, "num_missing": 0}
