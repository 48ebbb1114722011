"""Choose the source images that training uses, and their weights.

Images of the source's test split may be chosen, too: pretraining reads no labels, and the test split holds back labels.
Those of the target's test split choose nothing: images of the source that share a group or the bytes with one of them
are no candidates, and what lies near the target is judged by its train split. Labels of the source's train split are
read where that is asked for, by a method or to leave out suspected errors; the target's never.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.audit.near import LEAST_IMAGES
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import write_json, write_parquet
from pipeline_lib.core.progress import say
from pipeline_lib.core.registry import pick, with_options
from pipeline_lib.data.roles import Role
from pipeline_lib.labels.kind import labelled
from pipeline_lib.select import BLIND, LABELLED, SELECTORS, Selection
from pipeline_lib.select.distinct import ALWAYS, Searched, left_out
from pipeline_lib.select.words import sentences
from pipeline_lib.stats.shift import effective_sample_size
from tasks.blocks.compare import Compared
from tasks.blocks.labels import Primary
from tasks.blocks.select import Select
from tasks.blocks.shared import Roles
from tasks.features import components
from tasks.roles import read_both
from tasks.settings import written_in
from tasks.stage import Stage, arguments, main


class Settings(Primary, Roles, Compared):
    """What this stage reads of params.yaml."""

    select: Select = Select()


def run(stage: Stage[Settings]) -> None:
    """Select source images."""
    params, block = stage.params, stage.params.select
    with written_in("select"):
        params.compare.refuse_unknown_features(block.features)
        selector = with_options(pick(SELECTORS, block.method, "method"), block.options, "options")
        label = block.label(params)
    source, target = read_both(params, [label] if label else [], ())
    with written_in("select"):
        classes_N = _classes(source, label)
    source_ND, target_MD = _features(params, source, target)
    with written_in("select"):
        gone = left_out(Searched(source, target, source_ND, classes_N, params.seed), [ALWAYS, *block.without])
        candidates = _candidates(gone, classes_N if block.method in LABELLED else None)
        given = {"classes_N": classes_N[candidates]} if classes_N is not None and block.method in LABELLED else {}
        chosen = selector(source_ND[candidates], target_MD, block.size, params.seed, **given)
    rows = candidates[chosen.rows]
    table = pd.DataFrame({"id": source.table["id"].to_numpy()[rows], "weight": chosen.weights})
    write_parquet(stage.output("selection/source.parquet"), table)
    counts = {name: int(which.sum()) for name, which in gone.items()}
    metrics = _metrics(source, rows, chosen, len(candidates), counts)
    write_json(stage.output("metrics/select.json"), metrics)
    lines = [*sentences(block.method, block.features, metrics), *_warnings(block, source, target, chosen)]
    write_json(stage.output("reports/select.json"), {"lines": lines})
    for line in lines:
        say(f"select: {line}")


def _classes(source: Role, label: str | None) -> np.ndarray | None:
    """Return the class of each image of the train split, object ``[N]``, None elsewhere; None without a label."""
    if label is None:
        return None
    classes_N = source.label(label).copy()
    classes_N[source.rows("test")] = None
    if not labelled(classes_N).any():
        raise UserError(
            f"no image of the source's train split has a '{label}', which is to be chosen by: choose a method that "
            "needs no label, and leave label_errors out"
        )
    return classes_N


def _features(params: Settings, source: Role, target: Role) -> tuple[np.ndarray, np.ndarray]:
    """Return what source images, and those of the target's train split, are compared by, float32 ``[N, K]``.

    They have no columns where nothing is compared.
    """
    block, rows = params.select, target.rows("train")
    if block.method in BLIND and "label_errors" not in block.without:
        return np.empty((len(source), 0), np.float32), np.empty((len(rows), 0), np.float32)
    sets = [(source.images, np.arange(len(source))), (target.images, rows)]
    source_ND, target_MD = components("select", params, target, block.features, sets)
    return source_ND, target_MD


def _candidates(gone: Mapping[str, np.ndarray], classes_N: np.ndarray | None) -> np.ndarray:
    """Return the rows (int64) that may be chosen: not gone, and with a class where it is chosen by one."""
    free = ~np.any([*gone.values()], axis=0)
    if classes_N is not None:
        free &= labelled(classes_N)
    if not free.any():
        counts = ", ".join(f"{int(which.sum())} {name}" for name, which in gone.items())
        raise UserError(
            f"no image of the source is left to choose from (left out are {counts}): ask for less in without, or add "
            "images"
        )
    return np.flatnonzero(free)


def _metrics(
    source: Role, rows: np.ndarray, chosen: Selection, num_candidates: int, gone: dict[str, int]
) -> dict[str, Any]:
    effective = effective_sample_size(chosen.weights)
    datasets = source.table["dataset"].to_numpy()
    weight_of = pd.Series(chosen.weights).groupby(datasets[rows]).sum() / chosen.weights.sum()
    return {
        "num_source": len(source),
        "num_candidates": num_candidates,
        **{f"left_out.{name}": count for name, count in gone.items()},
        "num_selected": len(rows),
        "selected_share": len(rows) / len(source),
        "effective_sample_size": effective,
        "effective_sample_size_share": effective / len(rows),
        **{f"share.{name}": float(weight_of.get(name, 0.0)) for name in source.cards},
        **chosen.metrics,
    }


def _warnings(block: Select, source: Role, target: Role, chosen: Selection) -> list[str]:
    said = [f"warning: {warning}" for warning in chosen.warnings]
    kept_all = block.size is None and bool((chosen.weights == chosen.weights[0]).all())
    if block.method != "everything" and kept_all:
        said.append(f"warning: size is null, so '{block.method}' keeps every candidate, and all count alike")
    searched = [name for name in block.without if name in ("leaks", "near_duplicates")]
    if searched and min(len(source), len(target)) < LEAST_IMAGES:
        said.append(
            f"warning: near copies are not looked for in sets of fewer than {LEAST_IMAGES} images, equal ones are"
        )
    return said


if __name__ == "__main__":
    arguments(__doc__ or "")
    main("select", run, Settings)
