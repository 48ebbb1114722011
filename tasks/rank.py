"""Rank the datasets that could be the source, and encoders to start from, for this target, before any training.

Datasets are ranked without a label, by how near they are to the target's train split. Encoders are ranked by what they
make of labelled images of that split. Nothing of the target's test split enters, and nothing follows the ranking.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import write_json
from pipeline_lib.core.progress import say
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.roles import Role, read_roles
from pipeline_lib.encoders.representation import Representation
from pipeline_lib.encoders.weights import read_classifier
from pipeline_lib.labels.kind import labelled
from pipeline_lib.rank import Domain, Examples
from pipeline_lib.rank.run import MIN_KEYS, rank_datasets, rank_encoders
from pipeline_lib.rank.words import foretold, sentence, table
from tasks.blocks.compare import PIXELS, Compared
from tasks.blocks.datasets import Ingested
from tasks.blocks.labels import CLASS_KINDS, Primary
from tasks.blocks.pretrain import Pretrain
from tasks.blocks.rank import GIVEN, RANDOM, Rank
from tasks.blocks.shared import Roles
from tasks.candidates import build
from tasks.features import represented
from tasks.roles import DATASETS
from tasks.settings import written_in
from tasks.stage import Stage, arguments, main


class Settings(Primary, Roles, Ingested, Compared):
    """What this stage reads of params.yaml."""

    pretrain: Pretrain = Pretrain()
    rank: Rank = Rank()


def run(stage: Stage[Settings]) -> None:
    """Rank both, and say what came of it."""
    params = stage.params
    device = resolve_device(params.device)
    names = [name for name in params.datasets if name not in params.target]
    labels = [params.primary_label] if params.primary_label else []
    others, target = read_roles(DATASETS, names, params.target, (), labels)
    of_datasets, said = _datasets(params, others, target, device)
    of_encoders, more = _encoders(params, target, device)
    for line in [*said, *more]:
        say(f"rank: {line}")
    found = {"datasets": of_datasets, "encoders": of_encoders}
    write_json(stage.output("reports/rank.json"), {**found, "lines": [*said, *more]})
    metrics: dict[str, float] = {}
    for what, ranked in found.items():
        candidates = ranked["candidates"] if ranked else []
        metrics |= {f"num_{what}": len(candidates), **{f"{what}.{one['name']}": one["rank"] for one in candidates}}
    write_json(stage.output("metrics/rank.json"), metrics)


def _datasets(
    params: Settings, others: Role, target: Role, device: torch.device
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the ranking of the datasets that are not the target's, None without any, and sentences on it."""
    block, names = params.rank, list(others.cards)
    if len(names) == 1:
        return None, [f"datasets are not ranked: '{names[0]}' is the only one beside the target's"]
    # What is near an image that scores has no part in anything that is chosen.
    free = ~others.table["near_test"].to_numpy(dtype=bool)
    own = {name: np.flatnonzero(free & (others.table["dataset"] == name).to_numpy()) for name in names}
    rows = {name: _sample(found, block.sample, params.seed, name) for name, found in own.items()}
    target_rows = _sample(target.rows("train"), block.sample, params.seed, "target")
    few = {name: count for name in names if (count := _num_keys(others, rows[name])) < MIN_KEYS}
    said = [f"'{name}' is left out, having {_images(count)} where it takes {MIN_KEYS}" for name, count in few.items()]
    kept = [name for name in names if name not in few]
    if (count := _num_keys(target, target_rows)) < MIN_KEYS:
        return None, [f"datasets are not ranked: the target has {_images(count)} to train on, and it takes {MIN_KEYS}"]
    if len(kept) < 2:
        return None, [*said, "datasets are not ranked: it takes two that are large enough"]
    representation = _representations(params, target, [block.features])[block.features]

    def domain(role: Role, rows: np.ndarray, name: str) -> Domain:
        features_ND = representation.of(role.images, rows, device, f"features of {name}")
        return Domain(features_ND, role.table["key"].to_numpy(dtype=str)[rows])

    sources = {name: domain(others, rows[name], name) for name in kept}
    whole = domain(target, target_rows, "the target")
    ranked = rank_datasets(sources, whole, resamples=block.resamples, seed=params.seed)
    for one in ranked["candidates"]:
        one["num_images"], one["in_source"] = len(sources[one["name"]]), one["name"] in params.source
    words = sentence(ranked["candidates"], "nearest to the target", f"candidate sources, by {block.features},")
    return {**ranked, "features": block.features}, [*said, *table(ranked["candidates"]), words]


def _encoders(params: Settings, target: Role, device: torch.device) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the ranking of the encoders, None where there is nothing to rank or to rank by, and sentences on it."""
    block, label = params.rank, params.primary_label
    given = [GIVEN] if params.pretrain.weights != "random" else []
    if not given and not params.compare.encoders:
        why = "none with weights is named beside pixels and random ones: name some under compare.encoders"
        return None, [f"encoders are not ranked: {why}"]
    if label is None:
        return None, ["encoders are not ranked: the block labels names none to rank them by"]
    if (kind := params.label_kinds[label]) not in CLASS_KINDS:
        why = f"the primary label '{label}' is {kind}, and the scores take one of {', '.join(CLASS_KINDS)}"
        return None, [f"encoders are not ranked: {why}"]
    train = target.rows("train")
    values = target.label(label)
    rows = _sample(train[labelled(values[train])], block.sample, params.seed, "labelled")
    keys_N = target.table["key"].to_numpy(dtype=str)[rows]
    names, classes_N = np.unique(values[rows].astype(str), return_inverse=True)
    if (count := len(np.unique(keys_N))) < MIN_KEYS or len(names) < 2:
        why = f"the target's train split has {_images(count)} of {len(names)} classes labelled '{label}', and it takes"
        return None, [f"encoders are not ranked: {why} {MIN_KEYS} of 2"]
    examples, without = {}, []
    for name, one in _representations(params, target, [PIXELS, RANDOM, *given, *params.compare.encoders]).items():
        features_ND = one.of(target.images, rows, device, f"features of {name}")
        examples[name] = Examples(features_ND, keys_N, classes_N, one.probabilities(features_ND))
        without += [] if one.classifier else [name]
    ranked = rank_encoders(examples, resamples=block.resamples, seed=params.seed)
    words = sentence(ranked["candidates"], "best for the target", f"encoders, by {len(rows)} images with a '{label}',")
    left_out = f"LEEP is not of the ranks, since it takes a classifier that {', '.join(without)} came without"
    probed = foretold(ranked["candidates"], "linear_probe", f"the balanced accuracy of a linear probe of '{label}'")
    lines = [*table(ranked["candidates"]), words, probed, *([left_out] if without else [])]
    return {**ranked, "label": label, "num_images": len(rows)}, lines


def _representations(params: Settings, target: Role, names: list[str]) -> Mapping[str, Representation]:
    """Return the candidates of these names."""
    pretrain, seed = params.pretrain, params.seed
    given = {"hub": "hub", "file": pretrain.weights_path}.get(pretrain.weights)
    found = {}
    for name in names:
        if name in (RANDOM, GIVEN):
            weights = given if name == GIVEN else None
            with written_in("rank"):
                if name == GIVEN and weights is None:
                    raise UserError(f"features is '{GIVEN}', but pretrain.weights is random: set it, or name another")
            with written_in("pretrain"):
                partial = pretrain.allow_partial
                encoder = build("rank", target, pretrain.encoder, pretrain.size, weights, seed, partial=partial)
                found[name] = Representation(encoder, read_classifier(encoder, weights) if weights else None)
        else:
            found[name] = represented("rank", target, name, params.compare, seed)
    return found


def _sample(rows: np.ndarray, most: int, seed: int, what: str) -> np.ndarray:
    """Return at most so many of the rows, at random, in their order."""
    rng = np.random.default_rng(derive_seed(seed, "rank sample", what))
    return np.sort(rng.choice(rows, min(most, len(rows)), replace=False))


def _num_keys(role: Role, rows: np.ndarray) -> int:
    return role.table["key"].iloc[rows].nunique()


def _images(count: int) -> str:
    return "1 image (or group of them)" if count == 1 else f"{count} images (or groups of them)"


if __name__ == "__main__":
    arguments(__doc__ or "")
    main("rank", run, Settings)
