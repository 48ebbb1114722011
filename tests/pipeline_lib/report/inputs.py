"""Inputs of the report of any shape: invented numbers over random pictures."""

from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.data.dataset import Dataset

REPRESENTATIONS = ("pixels", "pretrained", "adapted")
SETTINGS = "# Every knob.\n\nseed: 0  # of chance\n\nreport:\n  title: Title  # of the page\n"


def make_inputs(
    *,
    classes: tuple[str, ...] = ("cat", "dog"),
    num: int = 12,
    size: int = 8,
    channels: int = 1,
    labelled: bool = True,
    path: str = "folder/*.png",
    text: str = "plain",
) -> dict[str, Any]:
    """Return the arguments of render_page; ``text`` is put wherever a sentence, name or reason is free text."""
    rng = np.random.default_rng(0)
    source = make_dataset("source", classes, num, size, channels, True, path, text)
    target = make_dataset("target", classes, num, size, channels, labelled, path, text)
    ids = target.table["id"]
    score = 0.8 if labelled else None
    return {
        "title": text,
        "transfer": make_transfer(classes, num, score, text),
        "audit": make_audit({"source": source, "target": target}, text),
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
        "primary": "kind",
        "model": "shot_im",
        "metrics": {"pretrain": {"loss": 1.5, text: None}},
        "curves": {
            "pretrain": pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.5], text: [np.nan, 1.0, 2.0]}),
            "heads": pd.DataFrame({"model": ["frozen", "frozen", text, text], "epoch": [1, 2, 1, 2], "loss": 1.0}),
            "label_efficiency": pd.DataFrame({"labels_per_class": [1], "accuracy": [0.5]}),
        },
        "settings": SETTINGS + f"x: {text}  # {text}\n",
        "thumbnails": 100,
        "seed": 0,
    }


def make_dataset(
    role: str, classes: tuple[str, ...], num: int, size: int, channels: int, labelled: bool, path: str, text: str
) -> Dataset:
    """Return ``num`` random pictures, their classes in turn."""
    images = np.random.default_rng(len(role)).integers(0, 256, (num, size, size, channels)).astype(np.uint8)
    names = [classes[row % len(classes)] for row in range(num)]
    table = pd.DataFrame(
        {
            "id": [f"{row:07d}" for row in range(num)],
            "path": [path.replace("*", str(row)) for row in range(num)],
            "sha256": "0" * 64,
            "split": ["train", "test"] * (num // 2),
            "group": pd.array([None] * num, dtype="string"),
            "flags": "",
        }
    )
    if labelled:
        table["label.kind"] = pd.array(names, dtype="string")
    counts = [names.count(name) for name in classes]
    kind = {"kind": "multiclass", "classes": list(classes), "counts": counts, "num_labelled": num, "num_missing": 0}
    card = {
        "role": role,
        "reader": text,
        "num_images": num,
        "shape": list(images.shape),
        "mean": [0.5] * channels,
        "std": [0.3] * channels,
        "splits": {"test": num // 2, "train": num // 2},
        "labels": {"kind": kind} if labelled else {},
        "quarantined": [{"path": path.replace("*", "broken"), "reason": text}],
        "converted": {"RGBA": 2},
        "original_sizes": {f"{size}x{size}": num},
    }
    return Dataset(images, table, card)


def make_transfer(classes: tuple[str, ...], num: int, score: float | None, text: str) -> dict[str, Any]:
    """Return the content of transfer.json with every score equal to ``score``."""
    outcomes = ("positive", "unclear", "negative", "unknown")
    gains = (0.1, 0.0, -0.1, None) if score is not None else (None,) * 4
    row = {"method": text, "baseline": "pixels", "metric": text, "value": score, "baseline_value": score}
    return {
        "lines": [text] * 5,
        "verdict": [
            {
                **row,
                "kind": kind,
                "gain": gain,
                "low": None if gain is None else gain - 0.05,
                "high": None if gain is None else gain + 0.05,
                "outcome": outcome if gain is not None else "unknown",
                "sentence": text,
            }
            for kind, gain, outcome in zip(
                ("self-taught", "multi-task", "transductive", "unsupervised"), gains, outcomes, strict=True
            )
        ],
        "classes": list(classes) if score is not None else [],
        "num_images": {"source": num, "target": num},
        "representations": [{"name": name, "dim": 8, "what": text} for name in REPRESENTATIONS],
        "clusterings": [
            {"representation": name, "space": "umap", "clusterer": "kmeans", "accuracy": score, "nmi": score,
             "ari": score, "silhouette": 0.2, "num_clusters": 2, "noise": 0.0}
            for name in REPRESENTATIONS
        ],
        "probes": [
            {"representation": name, "labels_per_class": k, "accuracy": 0.7 + k / 100, "std": 0.1, "low": 0.6,
             "high": 0.9, "repeats": 3}
            for name in REPRESENTATIONS
            for k in (1, 5)
            if score is not None
        ],
        "projections": [
            {"representation": name, "method": method, "trustworthiness": 0.9, "continuity": 0.8}
            for name in REPRESENTATIONS
            for method in ("pca", "umap")
        ],
        "adaptation": [
            {"model": model, "label": text, "metric": "accuracy", "value": score, "low": score, "high": score}
            for model in ("source_only", "shot_im")
        ],
        "heads": [
            {"model": model, "label": text, "kind": "regression", "metric": "mae", "value": value}
            for model, value in (("multi_task", 0.2), ("single_task", 0.1))
        ],
        "shift": [{"representation": name, "domain_auc": 0.9, "proxy_a_distance": 1.2} for name in REPRESENTATIONS],
    }  # fmt: skip


def make_audit(datasets: dict[str, Dataset], text: str) -> dict[str, Any]:
    """Return the content of audit.json."""
    sets = {
        role: {
            "num_images": len(dataset),
            "quarantined": 1,
            "blank": 0,
            "labels": {
                name: {**label, "imbalance": 1.0, "effective_classes": 2.0}
                for name, label in dataset.card["labels"].items()
            },
            "duplicates_within": 0,
            "duplicates_across_splits": 0,
            "label_errors": {
                name: {
                    "share": 0.1,
                    "count": 1,
                    "worst": [{"id": "0000001", "path": dataset.table["path"][1], "given": text, "suggested": text}],
                }
                for name in dataset.card["labels"]
            },
        }
        for role, dataset in datasets.items()
    }
    shift = {"domain_auc": 0.9, "proxy_a_distance": 1.2, "mmd2": 0.1, "mmd_p_value": 0.01, "frechet_distance": 3.0}
    return {
        "shift": shift,
        "sets": sets,
        "duplicates_across": {"count": 1, "examples": [["0000001", "0000002"]]},
        "findings": [{"level": level, "sentence": text} for level in ("info", "blocking", "warning")],
    }
