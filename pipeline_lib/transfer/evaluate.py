"""The parts of the evaluation, each as rows of its table and as the scores of single images behind them.

Labels enter only the functions that score; what is scored is computed before, by functions that have none.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import progress, track
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.transfer import CLUSTERERS, PROJECTIONS
from pipeline_lib.transfer.bootstrap import mean_interval
from pipeline_lib.transfer.knn import knn_graph, normalise
from pipeline_lib.transfer.predictions import per_image, predicted
from pipeline_lib.transfer.probes import probe, probe_features
from pipeline_lib.transfer.projections import trustworthiness
from pipeline_lib.transfer.scores import NOISE, agreement, class_scores, matched, mean, number_scores, silhouette

Row = dict[str, Any]
MIN_IMAGES = 8


class Structure(NamedTuple):
    """What a target looks like in each representation, without any label.

    ``layouts`` is ``{(representation, projection): float32 [N, 2]}``; ``clusters`` is
    ``{(representation, space, clusterer): int64 [N]}``; the rows describe them.
    """

    layouts: dict[tuple[str, str], np.ndarray]
    projection_rows: list[Row]
    clusters: dict[tuple[str, str, str], np.ndarray]
    cluster_rows: list[Row]


def structure(
    features: Mapping[str, np.ndarray],
    *,
    num_clusters: int,
    neighbors: int,
    umap_dims: int,
    device: torch.device,
    seed: int,
) -> Structure:
    """Project and cluster every representation (float32 ``[N, D]``) of the same images.

    Each is scaled to rows of length 1 and clustered as it is ("features") and in ``umap_dims`` dimensions ("umap").
    Few images lower ``neighbors`` below N / 2 and ``umap_dims`` below N - 2. Raises UserError for fewer than eight.
    """
    found = Structure({}, [], {}, [])
    for name, x_ND in track(features.items(), "projections and clusters", len(features)):
        if len(x_ND) < MIN_IMAGES:
            raise UserError(f"the target has {len(x_ND)} images, too few to look for structure: add some")
        seed_of = {part: derive_seed(seed, "transfer", part) for part in (*PROJECTIONS, *CLUSTERERS, "silhouette")}
        unit_ND = normalise(x_ND)
        k = min(neighbors, (len(x_ND) - 1) // 2)
        graph = knn_graph(unit_ND, k, device)
        for method, project in PROJECTIONS.items():
            layout = project(unit_ND, graph, 2, seed_of[method])
            found.layouts[name, method] = layout
            found.projection_rows.append(
                {
                    "representation": name,
                    "method": method,
                    "trustworthiness": trustworthiness(unit_ND, knn_graph(layout, k, device), device),
                    "continuity": trustworthiness(layout, graph, device),
                }
            )
        dims = min(umap_dims, len(x_ND) - 3)
        spaces = {"features": unit_ND, "umap": PROJECTIONS["umap"](unit_ND, graph, dims, seed_of["umap"])}
        for space, points in spaces.items():
            for clusterer, cluster in CLUSTERERS.items():
                clusters = cluster(points, num_clusters, seed_of[clusterer])
                found.clusters[name, space, clusterer] = clusters
                found.cluster_rows.append(
                    {
                        "representation": name,
                        "space": space,
                        "clusterer": clusterer,
                        "silhouette": silhouette(points, clusters, seed_of["silhouette"]),
                        "num_clusters": len(np.unique(clusters[clusters != NOISE])),
                        "noise": float((clusters == NOISE).mean()),
                    }
                )
    return found


def score_clusters(found: Structure, truth_N: np.ndarray) -> tuple[list[Row], dict[tuple[str, str, str], np.ndarray]]:
    """Add the scores against the classes to the rows of the clusters; also return who is right (see ``matched``)."""
    right = {key: matched(clusters, truth_N) for key, clusters in found.clusters.items()}
    rows = [
        {**row, "accuracy": mean(right[key]), **agreement(clusters, truth_N)}
        for row, (key, clusters) in zip(found.cluster_rows, found.clusters.items(), strict=True)
    ]
    return rows, right


def probes(
    features: Mapping[str, np.ndarray],
    truth_N: np.ndarray,
    draws: Mapping[int, Sequence[np.ndarray]],
    train_rows: np.ndarray,
    test_rows: np.ndarray,
    *,
    resamples: int,
    seed: int,
) -> tuple[list[Row], dict[tuple[str, int], np.ndarray]]:
    """Probe every representation with the same draws of labels (see ``draw_labels``); also return who is right.

    Both are empty where the train or the test split has no label. The interval is over draws and images.
    """
    right: dict[tuple[str, int], np.ndarray] = {}
    rows: list[Row] = []
    if pd.isna(truth_N[test_rows]).all():
        return rows, right
    with progress("probes", len(features) * len(draws)) as tracker:
        for name, x_ND in features.items():
            seen_ND = probe_features(x_ND, train_rows)
            for amount, drawn in draws.items():
                right_RT = probe(seen_ND, truth_N, drawn, test_rows)
                right[name, amount] = right_RT
                low, high = mean_interval(right_RT, resamples, seed)
                rows.append(
                    {
                        "representation": name,
                        "labels_per_class": amount,
                        "accuracy": mean(right_RT),
                        "std": float(np.nanmean(right_RT, axis=1).std(ddof=1)),
                        "low": low,
                        "high": high,
                        "repeats": len(drawn),
                    }
                )
                tracker.advance()
    return rows, right


def score_predictions(
    table: pd.DataFrame,
    truths: Mapping[str, np.ndarray],
    kinds: Mapping[str, str],
    ids: pd.Series,
    *,
    resamples: int,
    seed: int,
) -> tuple[list[Row], dict[tuple[str, str], np.ndarray]]:
    """Score every model of a table of predictions on every label that is known for some of the images ``ids``.

    Also returns ``{(model, label): what each image adds to the score}`` (see ``per_image``). The first metric of a
    label is the mean of that and has an interval.
    """
    rows: list[Row] = []
    parts: dict[tuple[str, str], np.ndarray] = {}
    for model, label in table[["model", "label"]].drop_duplicates().itertuples(index=False):
        if label not in truths or pd.isna(truths[label]).all():
            continue
        truth_N, kind = truths[label], kinds[label]
        answers = predicted(table, model, label, ids, kind)
        part = per_image(answers, truth_N, kind)
        parts[model, label] = part
        low, high = mean_interval(part, resamples, seed)
        scores = number_scores(answers, truth_N) if kind == "regression" else class_scores(part, truth_N)
        for metric, value in scores.items():
            has_interval = metric in ("accuracy", "mae")
            rows.append(
                {
                    "model": model,
                    "label": label,
                    "kind": kind,
                    "metric": metric,
                    "value": value,
                    "low": low if has_interval else None,
                    "high": high if has_interval else None,
                }
            )
    return rows, parts
