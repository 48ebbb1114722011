"""Projections and clusterings of every representation of the same images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from pipeline_lib.core.progress import progress
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.stats.neighbours import knn_graph, normalise
from pipeline_lib.stats.scores import NOISE, mean, silhouette
from pipeline_lib.structure import CLUSTERERS, PROJECTIONS, RANDOM
from pipeline_lib.structure.projections import trustworthiness

Row = dict[str, Any]
MIN_IMAGES = 8


class Structure(NamedTuple):
    """What images look like in each representation, without any label.

    ``layouts`` is ``{(representation, projection): float32 [N, 2]}``, of the first training alone; ``clusters`` is
    ``{(representation, space, clusterer): [training][restart] int64 [N]}``; the rows describe them.
    """

    layouts: dict[tuple[str, str], np.ndarray]
    projection_rows: list[Row]
    clusters: dict[tuple[str, str, str], list[list[np.ndarray]]]
    cluster_rows: list[Row]


def structure(
    features: Mapping[str, Sequence[np.ndarray]],
    *,
    num_clusters: int,
    neighbors: int,
    umap_dims: int,
    restarts: int,
    device: torch.device,
    seed: int,
) -> Structure:
    """Project and cluster every representation, a float32 ``[N, D]`` for each training (one where none is trained).

    Each is scaled to rows of length 1 and clustered as it is ("features") and in ``umap_dims`` dimensions ("umap").
    UMAP and k-means depend on chance, so they run ``restarts`` times. Few images lower ``neighbors`` below N / 2 and
    ``umap_dims`` below N - 2; of fewer than eight nothing is looked for.
    """
    found = Structure({}, [], {}, [])
    if len(next(iter(features.values()))[0]) < MIN_IMAGES:
        return found
    with progress("projections and clusters", sum(map(len, features.values()))) as tracker:
        for name, trainings in features.items():
            clusters: dict[tuple[str, str], list[list[np.ndarray]]] = {}
            silhouettes: dict[tuple[str, str], list[float | None]] = {}
            for number, x_ND in enumerate(trainings):
                unit_ND = normalise(x_ND)
                graph = knn_graph(unit_ND, min(neighbors, (len(x_ND) - 1) // 2), device)
                if number == 0:
                    _project(found, name, unit_ND, graph, device, seed)
                dims = min(umap_dims, len(x_ND) - 3)
                for space in ("features", "umap"):
                    for restart in range(restarts):
                        points = unit_ND
                        if space == "umap":
                            points = PROJECTIONS["umap"](unit_ND, graph, dims, derive_seed(seed, "umap", restart))
                        for clusterer, cluster in CLUSTERERS.items():
                            if restart and space == "features" and clusterer not in RANDOM:
                                continue
                            drawn = cluster(points, num_clusters, derive_seed(seed, clusterer, restart))
                            runs = clusters.setdefault((space, clusterer), [[] for _ in trainings])
                            runs[number].append(drawn)
                            tight = silhouette(points, drawn, derive_seed(seed, "silhouette"))
                            silhouettes.setdefault((space, clusterer), []).append(tight)
                tracker.advance()
            for (space, clusterer), runs in clusters.items():
                found.clusters[name, space, clusterer] = runs
                every = [run for training in runs for run in training]
                tight_N = np.array([np.nan if value is None else value for value in silhouettes[space, clusterer]])
                found.cluster_rows.append(
                    {
                        "representation": name,
                        "space": space,
                        "clusterer": clusterer,
                        "silhouette": mean(tight_N),
                        "num_clusters": float(np.mean([len(np.unique(run[run != NOISE])) for run in every])),
                        "noise": float(np.mean([(run == NOISE).mean() for run in every])),
                        "restarts": len(runs[0]),
                    }
                )
    return found


def _project(found: Structure, name: str, unit_ND: np.ndarray, graph: Any, device: torch.device, seed: int) -> None:
    """Add the maps of a representation, and how far each can be trusted."""
    k = graph.indices.shape[1]
    for method, project in PROJECTIONS.items():
        layout = project(unit_ND, graph, 2, derive_seed(seed, method))
        found.layouts[name, method] = layout
        found.projection_rows.append(
            {
                "representation": name,
                "method": method,
                "trustworthiness": trustworthiness(unit_ND, knn_graph(layout, k, device), device),
                "continuity": trustworthiness(layout, graph, device),
            }
        )
