"""Measure on the target what carried over, against every baseline, and put the verdict into words."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline_lib.audit.shift import domain_classifier
from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.files import read_json, write_csv, write_json, write_parquet
from pipeline_lib.core.progress import say, track
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.dataset import present_labels, read_dataset
from pipeline_lib.data.ingest import natural_key
from pipeline_lib.transfer import verdict
from pipeline_lib.transfer.evaluate import probes, score_clusters, score_predictions, structure
from pipeline_lib.transfer.flat import flat_metrics
from pipeline_lib.transfer.probes import draw_labels
from tasks.stage import Stage, main

SHIFT_SAMPLE = 2000  # images of each set that the domain classifier sees


def run(stage: Stage) -> None:
    """Evaluate every representation and model on the target."""
    params, block = stage.params, stage.params.transfer
    boot = {"resamples": block.bootstrap, "seed": derive_seed(params.seed, "bootstrap")}
    source = read_dataset(Path("data/source"), list(params.labels))
    target = read_dataset(Path("data/target"), present_labels(Path("data/target"), params.labels))
    representations = read_json(Path("features/card.json"))["representations"]
    names = [row["name"] for row in representations]
    features = {name: np.load(f"features/target/{name}.npy") for name in names}
    classes = source.card["labels"][params.primary]["classes"]
    truths = {name: target.label(name) for name in target.labels}
    truth = truths.get(params.primary, np.full(len(target), None, dtype=object))
    known = Counter(truth[~pd.isna(truth)])
    train, test = target.rows("train"), target.rows("test")
    # Before anything that takes time, because it refuses a class with too few labels.
    draws = draw_labels(truth, train, block.labels_per_class, block.repeats, params.seed, params.primary)

    # Up to the next empty line nothing sees a label.
    found = structure(
        features,
        num_clusters=len(classes),
        neighbors=block.neighbors,
        umap_dims=block.umap_dims,
        device=resolve_device(params.device),
        seed=params.seed,
    )
    shift_rows = [
        {"representation": name, **_shift(name, features[name], params.seed)}
        for name in track(names, "shift", len(names))
    ]

    cluster_rows, cluster_right = score_clusters(found, truth)
    probe_rows, probe_right = probes(features, truth, draws, train, test, **boot)
    adapted = pd.read_parquet("predictions/adapt.parquet")
    adapt_rows, adapt_parts = score_predictions(adapted, truths, params.labels, target.table["id"], **boot)
    held_out = source.rows("test")
    held_out_truths = {name: source.label(name)[held_out] for name in source.labels}
    head_rows, head_parts = score_predictions(
        pd.read_parquet("predictions/heads.parquet"),
        held_out_truths,
        params.labels,
        source.table["id"][held_out],
        **boot,
    )

    amount = verdict.declared_amount(block.labels_per_class)
    entries = [
        verdict.self_taught(probe_right, amount, params.primary, **boot),
        verdict.multi_task(head_parts, params.labels, **boot),
        verdict.transductive(
            adapt_parts,
            params.adapt.use,
            params.primary,
            params.labels,
            changed=_changed(adapted, params.primary, params.adapt.use),
            unknown_classes={name: count for name, count in known.items() if name not in classes},
            **boot,
        ),
        verdict.unsupervised(cluster_right, cluster_rows, **boot),
    ]
    first = verdict.headline(
        adapt_rows,
        probe_rows,
        cluster_rows,
        amount,
        label=params.primary,
        num_labelled=known.total(),
        num_images=len(target),
    )
    report = {
        "lines": verdict.verdict_lines(first, entries),
        "verdict": entries,
        "classes": [*classes, *sorted(known.keys() - set(classes), key=natural_key)],
        "num_images": {"source": len(source), "target": len(target)},
        "representations": representations,
        "clusterings": cluster_rows,
        "probes": probe_rows,
        "projections": found.projection_rows,
        "adaptation": adapt_rows,
        "heads": head_rows,
        "shift": shift_rows,
    }
    write_json(stage.output("reports/transfer.json"), report)
    write_parquet(stage.output("reports/projection.parquet"), _layout_table(found.layouts, target.table["id"]))
    write_json(stage.output("metrics/transfer.json"), flat_metrics(report, params.primary))
    columns = ["representation", "labels_per_class", "accuracy", "low", "high"]
    write_csv(stage.output("plots/label_efficiency.csv"), pd.DataFrame(probe_rows, columns=columns))
    for line in report["lines"]:
        say(line)


def _shift(name: str, target_ND: np.ndarray, seed: int) -> dict[str, float]:
    """Return how well a linear classifier tells source and target apart, on a random part of each."""
    rng = np.random.default_rng(derive_seed(seed, "transfer", "shift"))
    source_ND = np.load(f"features/source/{name}.npy", mmap_mode="r")
    source_part, target_part = (x[np.sort(rng.permutation(len(x))[:SHIFT_SAMPLE])] for x in (source_ND, target_ND))
    return domain_classifier(source_part, target_part, seed)


def _changed(predictions: pd.DataFrame, label: str, model: str) -> float:
    """Return the share of images that the model puts into another class than the one trained on the source."""
    of_label = predictions[predictions["label"] == label]
    wide = of_label.pivot(index="id", columns="model", values="predicted_class")
    return float((wide[model] != wide["source_only"]).mean())


def _layout_table(layouts: Mapping[tuple[str, str], np.ndarray], ids: pd.Series) -> pd.DataFrame:
    """Return the long table of the maps: id, representation, method, x, y."""
    return pd.concat(
        [
            pd.DataFrame({"id": ids, "representation": name, "method": method, "x": xy[:, 0], "y": xy[:, 1]})
            for (name, method), xy in layouts.items()
        ]
    )


if __name__ == "__main__":
    main("transfer", run)
