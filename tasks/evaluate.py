"""Measure on the target what carried over, against every baseline; reports/evaluation.json holds what was found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.files import read_json, write_csv, write_json, write_parquet
from pipeline_lib.core.progress import say, track
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.roles import Role
from pipeline_lib.evaluate import declared
from pipeline_lib.evaluate.adaptation import Bound, adaptation
from pipeline_lib.evaluate.affinity import affinity_rows
from pipeline_lib.evaluate.comparisons import rows_of
from pipeline_lib.evaluate.flat import flat_metrics
from pipeline_lib.evaluate.pixels import pixel_features
from pipeline_lib.evaluate.predictions import Predictions
from pipeline_lib.evaluate.probed import Probed
from pipeline_lib.evaluate.probes import draw_labels
from pipeline_lib.evaluate.reliability import reliabilities
from pipeline_lib.evaluate.scoring import judge_of, judges_of, model_scores
from pipeline_lib.evaluate.tables import cluster_rows, delta_m, probe_rows
from pipeline_lib.evaluate.worth import worth
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.tasks import Task, cell, explain, resolve_tasks
from pipeline_lib.stats.intervals import Replicates
from pipeline_lib.stats.neighbours import normalise
from pipeline_lib.stats.shift import domain_classifier
from pipeline_lib.structure.clusters import estimate_clusters
from pipeline_lib.structure.structure import structure
from tasks.blocks.adapt import Adapt
from tasks.blocks.evaluate import Evaluate
from tasks.blocks.labels import Primary
from tasks.blocks.shared import Computed, Drawn, Roles, Trained
from tasks.roles import read_both
from tasks.stage import Stage, main

# Target images that maps and clusters look at, drawn at random where there are more: all pairs of them are compared.
MOST_LOOKED_AT = 5000
PROBE_COLUMNS = ["representation", "labels_per_class", "metric", "value", "low", "high"]


class Settings(Primary, Roles, Computed, Trained, Drawn):
    """What this stage reads of params.yaml."""

    adapt: Adapt = Adapt()
    evaluate: Evaluate = Evaluate()


def run(stage: Stage[Settings]) -> None:
    """Evaluate every representation and model on the target."""
    params, block = stage.params, stage.params.evaluate
    source, target = read_both(params, list(params.labels))
    tasks = resolve_tasks(source, target, params.label_settings)
    primary = tasks.get(params.primary_label or "")
    features, of_source, described = _features(source, target, params.seeds, params.seed)
    only_probed, told = _only_probed(params.seeds)

    # Up to the next empty line nothing sees a label of the target's test split.
    rng = np.random.default_rng(derive_seed(params.seed, "evaluate", "looked at"))
    looked_at = np.sort(rng.permutation(len(target))[:MOST_LOOKED_AT])
    if len(looked_at) < len(target):
        say(f"evaluate: maps and clusters are of {len(looked_at):,} of {len(target):,} target images, drawn at random")
    found = structure(
        {name: [x_ND[looked_at] for x_ND in trainings] for name, trainings in features.items()},
        num_clusters=block.num_clusters or _num_clusters(primary, features["pretrained"][0], params.seed),
        neighbors=block.neighbors,
        umap_dims=block.umap_dims,
        restarts=block.restarts,
        device=resolve_device(params.device),
        seed=params.seed,
    )
    shift_rows = [
        {"representation": name, **_shift(of_source[name], features[name][0], params.seed)}
        for name in track(features, "shift", len(features))
    ]
    train = target.rows("train")

    judges = {role.name: judges_of(tasks, role, role.rows("test"), params.seed) for role in (source, target)}
    of_clusters = judge_of(primary, target, looked_at, target.rows("test"), params.seed) if primary else None
    probed: dict[str, Probed] = {}
    probes: list[dict[str, Any]] = []
    for name, task in tasks.items():
        truth, judge, by_class = target.label(name), judges["target"][name], KINDS[task.kind].has_classes
        draws = draw_labels(truth, train, block.labels_per_class, block.repeats, params.seed, by_class)
        rows, scores = probe_rows({**features, **only_probed}, truth, train, draws, judge, name)
        probes, probed[name] = [*probes, *rows], Probed(task, judge, draws, scores)
    heads, adapted = (
        Predictions([pd.read_parquet(f"predictions/{name}/{seed}.parquet") for seed in params.seeds])
        for name in ("heads", "adapt")
    )
    choices = [read_json(Path(f"predictions/adapt/{seed}.json")) for seed in params.seeds]
    strategies = [read_json(Path(f"predictions/heads/{seed}.json")) for seed in params.seeds]
    chosen_for = choices[0]["label"] or ""
    ids = {role.name: role.table["id"].to_numpy() for role in (source, target)}
    held_out = {name: judges[declared.domain_of(task)][name] for name, task in tasks.items()}
    held_out_ids = {name: ids[declared.domain_of(tasks[name])][judge.rows] for name, judge in held_out.items()}
    comparisons = [
        declared.self_taught(probed[primary.name] if primary else None, block.labels_per_class),
        *declared.multi_task(tasks, held_out, heads, held_out_ids),
        *declared.transductive(tasks, judges["target"], adapted, ids["target"], params.adapt.use, choices),
        declared.unsupervised(primary, of_clusters, found.clusters),
    ]
    compared = rows_of(comparisons)
    evaluation = {
        "seeds": params.seeds,
        "primary": primary.name if primary else None,
        "classes": _classes(primary, target),
        "num_images": {role.name: len(role) for role in (source, target)},
        "datasets": {"source": params.source, "target": params.target},
        "same_files": int(np.isin(target.table["sha256"], source.table["sha256"]).sum()),
        "shared": int(np.isin(target.table["key"][target.rows("test")], source.table["key"]).sum()),
        "tasks": [_task_row(task) for task in tasks.values()],
        "use": params.adapt.use,
        "adaptation": adaptation(
            choices,
            tasks.get(chosen_for),
            {domain: of_domain[chosen_for] for domain, of_domain in judges.items() if chosen_for in of_domain},
            adapted,
            ids,
            _bound(probed[chosen_for].scores) if primary and primary.name == chosen_for else None,
        ),
        "strategies": strategies,
        "representations": [*described, *told],
        "comparisons": compared,
        "delta_m": delta_m(compared, held_out),
        "affinity": affinity_rows(strategies),
        "scores": model_scores(tasks, judges, heads, adapted, ids, target, params.seed),
        "reliability": reliabilities(
            primary,
            judges["target"][primary.name] if primary else None,
            adapted,
            ids["target"],
            params.adapt.use,
            choices,
            derive_seed(params.seed, "evaluate", "reliability"),
        ),
        "probes": probes,
        "worth": worth(list(probed.values())),
        "clusterings": cluster_rows(found.cluster_rows, found.clusters, of_clusters),
        "projections": found.projection_rows,
        "shift": shift_rows,
    }
    write_json(stage.output("reports/evaluation.json"), evaluation)
    write_parquet(stage.output("reports/projection.parquet"), _layout_table(found.layouts, ids["target"][looked_at]))
    write_json(stage.output("metrics/evaluate.json"), flat_metrics(evaluation))
    write_csv(stage.output("plots/label_efficiency.csv"), _efficiency(probes, params.primary_label))
    outcomes = pd.Series([row["outcome"] for row in compared]).value_counts()
    say(f"evaluate: {', '.join(f'{count} {name}' for name, count in outcomes.items())}")


def _features(
    source: Role, target: Role, seeds: list[int], seed: int
) -> tuple[dict[str, list[np.ndarray]], dict[str, np.ndarray], list[dict[str, Any]]]:
    """Return the target's features, a matrix a training, those of a sample of the source, and what they are."""
    first = Path(f"features/{seeds[0]}")
    pixels, of_source, what = pixel_features(target.images, source.images, np.load(first / "source/rows.npy"), seed)
    on_target, on_source = {"pixels": [pixels]}, {"pixels": of_source}
    described = [{"name": "pixels", "dim": pixels.shape[1], "what": f"{what}, the baseline without any learning"}]
    for row in read_json(first / "card.json")["representations"]:
        on_target[row["name"]] = [np.load(f"features/{one}/target/{row['name']}.npy") for one in seeds]
        on_source[row["name"]] = np.load(first / f"source/{row['name']}.npy")
        described.append(row)
    return on_target, on_source, described


def _only_probed(seeds: list[int]) -> tuple[dict[str, list[np.ndarray]], list[dict[str, Any]]]:
    """Return the features that are on no map, those of encoders that no training changes once, and what they are."""
    found, described = {}, []
    for folders in ([Path(f"features/{seed}") for seed in seeds], [Path("features/compared")]):
        for row in read_json(folders[0] / "card.json")["probed"]:
            found[row["name"]] = [np.load(folder / "target" / f"{row['name']}.npy") for folder in folders]
            described.append(row)
    return found, described


def _efficiency(probes: list[dict[str, Any]], primary: str | None) -> pd.DataFrame:
    """Return the curves of the primary label, whose scores share an axis."""
    return pd.DataFrame([row for row in probes if row["label"] == primary], columns=PROBE_COLUMNS)


def _num_clusters(primary: Task | None, x_ND: np.ndarray, seed: int) -> int:
    """Return the number of classes that were learnt, or an estimate where there are none."""
    if primary and primary.learn_from != "nothing" and KINDS[primary.kind].has_classes:
        return len(primary.spec["classes"])
    return estimate_clusters(normalise(x_ND), derive_seed(seed, "clusters")) if len(x_ND) > 3 else 2


def _bound(probed: Mapping[tuple[str, int], Replicates]) -> Bound | None:
    """Return what the most labels of the target reach, by a probe on the model as it was before adaptation."""
    amounts = [amount for name, amount in probed if name == "supervised"]
    return Bound(float(probed["supervised", max(amounts)].values_SR.mean()), max(amounts)) if amounts else None


def _classes(primary: Task | None, target: Role) -> list[str]:
    """Return the classes that were learnt, and behind them those that only the target has."""
    if primary is None or not KINDS[primary.kind].has_classes:
        return []
    learnt = list(primary.spec.get("classes", []))
    known = KINDS[primary.kind].describe(target.label(primary.name)).get("classes", [])
    return [*learnt, *(name for name in known if name not in learnt)]


def _task_row(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "kind": task.kind,
        "learn_from": task.learn_from,
        "cell": cell(task),
        "counts": task.counts,
        "problem": task.problem,
        "explain": explain(task),
    }


def _shift(source_SD: np.ndarray, target_ND: np.ndarray, seed: int) -> dict[str, float]:
    """Return how well a linear classifier tells source and target apart, on about equally many images of each."""
    rng = np.random.default_rng(derive_seed(seed, "evaluate", "shift"))
    chosen = np.sort(rng.permutation(len(target_ND))[: len(source_SD)])
    return domain_classifier(source_SD, target_ND[chosen], seed)


def _layout_table(layouts: Mapping[tuple[str, str], np.ndarray], ids: np.ndarray) -> pd.DataFrame:
    """Return the long table of the maps: id, representation, method, x, y."""
    parts = [
        pd.DataFrame({"id": ids, "representation": name, "method": method, "x": xy[:, 0], "y": xy[:, 1]})
        for (name, method), xy in layouts.items()
    ]
    none = pd.DataFrame(columns=["id", "representation", "method", "x", "y"], dtype=str).astype(
        {"x": float, "y": float}
    )
    return pd.concat(parts or [none])


if __name__ == "__main__":
    main("evaluate", run, Settings)
