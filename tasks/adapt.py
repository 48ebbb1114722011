"""Carry encoder and heads over to the target, none of whose labels is read here, and choose what is handed on."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline_lib.adapt import ADAPTERS, Adapter
from pipeline_lib.adapt.carry import carry
from pipeline_lib.adapt.choice import SOURCE_ONLY
from pipeline_lib.adapt.decision import decide
from pipeline_lib.adapt.evidence import HeldBack
from pipeline_lib.adapt.scorers import WITH_SOURCE
from pipeline_lib.core.compute import resolve_device, seed_everything
from pipeline_lib.core.files import read_json, write_csv, write_json, write_parquet
from pipeline_lib.core.progress import say
from pipeline_lib.core.registry import pick, with_options
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.roles import Role
from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.encoders.encoder import save_model
from pipeline_lib.heads.familiarity import familiarity, load_familiarity
from pipeline_lib.heads.learner import label_columns
from pipeline_lib.heads.model import MultiTask, load_multi_task
from pipeline_lib.heads.predictions import prediction_table
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import labelled
from pipeline_lib.stats.label_shift import prior_of
from pipeline_lib.training import Batches
from tasks.blocks.adapt import AUTO, Adapt
from tasks.blocks.labels import Primary
from tasks.blocks.shared import Computed, Roles
from tasks.fitting import train
from tasks.roles import read_both, selected
from tasks.settings import written_in
from tasks.stage import Stage, arguments, main

BATCH_SIZE = 512  # of predictions
CURVE = ["method", "epoch", "loss"]


class Settings(Primary, Roles, Computed):
    """What this stage reads of params.yaml."""

    adapt: Adapt = Adapt()


def run(stage: Stage[Settings], training: int) -> None:
    """Run every adapter of the list that applies, and hand on one, as the training with this seed."""
    params, block, device = stage.params, stage.params.adapt, resolve_device(stage.params.device)
    source, target = read_both(params, list(params.labels), ())
    model = load_multi_task(Path(f"models/heads/{training}"))
    trained = read_json(Path(f"models/heads/{training}/config.json"))
    rows = Rows(target.images, np.arange(len(target)))
    carried = [name for name in model.specs if trained["learnt_from"][name] in ("source", "both")]
    label = _label(params.primary_label, model, carried)
    learnt = _learnt(source, model, carried)
    held_back = _held_back(source, learnt, label, block, training)
    adapted: dict[str, MultiTask] = {SOURCE_ONLY: model}
    histories = [pd.DataFrame(columns=CURVE)]
    methods: list[str] = []
    if not carried:
        say("adapt: no label is learnt from the source, so there is nothing to adapt and the model stays")
    elif len(target) < 2:
        say("adapt: the target has a single image, which has no statistics to adapt to, so the model stays")
    else:
        methods = block.methods
    with written_in("adapt"):
        trained_on = np.setdiff1d(learnt, held_back)
        batches = _labelled(source, model, carried, trained_on, block, device, training)
        for name in methods:
            adapter = pick(ADAPTERS, block.adapter(name), "methods")
            if lacking := adapter.lacks(model, label):
                say(f"adapt: {lacking}, so {name} is left out")
                continue
            learner = with_options(adapter, block.candidate(name).options, f"options.{name}")
            own, copied = block.trained_as(name, adapter.rate), copy.deepcopy(model)
            adapted[name], history = _adapt(stage, own, name, learner, copied, label, batches, rows, training)
            histories.append(history.assign(method=name)[CURVE])
    choice = _choice(block, adapted, label, source, target, held_back, device, training)
    use = choice["chosen"]
    say(f"adapt: handing on the model {'as it is' if use == SOURCE_ONLY else f'after {use}'}")
    ids, answered = _answered(source, target)
    # Temperatures are those of the model before: there are no labels by which to find others for the target.
    temperatures = {SOURCE_ONLY: trained["calibration"]}
    tables = [
        prediction_table(one, name, ids, answered, device, BATCH_SIZE, temperatures.get(name))
        for name, one in adapted.items()
    ]
    if block.use == AUTO:
        tables.append(tables[list(adapted).index(use)].assign(model=pd.array([AUTO] * len(tables[0]), dtype="string")))
    config = {**trained, "calibration": temperatures.get(use, {}), "method": use, "fingerprint": stage.fingerprint}
    folder = stage.output(f"models/adapted/{training}")
    save_model(folder, adapted[use], config)
    known = load_familiarity(Path(f"models/heads/{training}"))
    if use != SOURCE_ONLY:
        domains = _known(source, target, training)
        known = familiarity(adapted[use].encoder, *domains, device, BATCH_SIZE, training)
    if known:
        known.save(folder)
    write_parquet(stage.output(f"predictions/adapt/{training}.parquet"), pd.concat(tables))
    write_json(stage.output(f"predictions/adapt/{training}.json"), choice)
    curves = pd.concat([history for history in histories if len(history)] or histories)
    write_csv(stage.output(f"plots/adapt/{training}.csv"), curves)
    final = curves.groupby("method", sort=True)["loss"].last()
    write_json(stage.output(f"metrics/adapt/{training}.json"), {f"loss.{name}": loss for name, loss in final.items()})


def _adapt(
    stage: Stage[Settings],
    block: Adapt,
    name: str,
    adapter: Callable[..., Adapter],
    model: MultiTask,
    label: str | None,
    source: Batches,
    rows: Rows,
    training: int,
) -> tuple[MultiTask, pd.DataFrame]:
    """Return the adapted model and how its training, by the settings of ``block``, went."""
    seed = derive_seed(training, "adapt", name)
    seed_everything(seed)
    fitted = partial(train, stage, block, name=name, seed=seed, lr=block.lr)
    history = carry(adapter, model, label, source, rows, fitted, resolve_device(stage.params.device))
    return model, history


def _choice(
    block: Adapt,
    adapted: Mapping[str, MultiTask],
    label: str | None,
    source: Role,
    target: Role,
    held_back: np.ndarray,
    device: torch.device,
    training: int,
) -> dict[str, Any]:
    """Return what is handed on, the code of why, and what it was judged by: never a label of the target.

    ``held_back`` are rows of the source.
    """
    found: dict[str, Any] = {
        "label": label,
        "chosen": SOURCE_ONLY,
        "scores": {},
        "ranks": {},
        "forgot": [],
        "shift": None,
    }
    if block.use != AUTO:
        return {**found, "chosen": block.use if block.use in adapted else SOURCE_ONLY, "reason": "declared"}
    if label is None or len(adapted) < 2:
        return {**found, "reason": "no_candidate"}
    spec, held_out, keys = adapted[SOURCE_ONLY].specs[label], source.rows("test"), source.table["key"].to_numpy()
    encoded = KINDS[spec["kind"]].encode(source.label(label), spec).numpy()
    return decide(
        adapted,
        label,
        Rows(target.images, np.arange(len(target))),
        # What the model was trained on it knows too well to be compared with the target.
        Rows(source.images, held_out),
        prior_of(encoded[source.rows("train")], len(spec["classes"])),
        block.scorers,
        device,
        derive_seed(training, "adapt choice"),
        (keys[held_out], target.table["key"].to_numpy()),
        HeldBack(Rows(source.images, held_back), encoded[held_back], keys[held_back]),
    )


def _answered(source: Role, target: Role) -> tuple[np.ndarray, Rows]:
    """Return the ids and images that are predicted: the target's, and those that the source holds out."""
    held_out = source.rows("test")
    ids = np.concatenate([source.table["id"].to_numpy()[held_out], target.table["id"].to_numpy()])
    images = Images(*source.images.paths, *target.images.paths)
    return ids, Rows(images, np.concatenate([held_out, len(source) + np.arange(len(target))]))


def _known(source: Role, target: Role, training: int) -> tuple[list[Rows], list[Rows]]:
    """Return the images that an adapted model knows, and those that say how far off others like them may be.

    The target's are divided by chance, all images of a key together: which of them are in its test split may follow
    from its labels.
    """
    keys = np.sort(target.table["key"].unique())
    drawn = np.random.default_rng(derive_seed(training, "adapt familiarity")).permutation(keys)
    apart = target.table["key"].isin(drawn[: len(keys) // 5]).to_numpy()
    return (
        [Rows(source.images, source.rows("train")), Rows(target.images, np.flatnonzero(~apart))],
        [Rows(source.images, source.rows("test")), Rows(target.images, np.flatnonzero(apart))],
    )


def _label(primary: str | None, model: MultiTask, carried: Sequence[str]) -> str | None:
    """Return the label whose classes adapters go by: the primary one, else the first that the source taught."""
    able = [name for name in carried if KINDS[model.specs[name]["kind"]].has_classes]
    return primary if primary in able else next(iter(able), None)


def _learnt(source: Role, model: MultiTask, carried: Sequence[str]) -> np.ndarray:
    """Return the rows of the source's training images that were selected and have a label which the source teaches."""
    known = np.any([np.zeros(len(source), dtype=bool), *(labelled(source.label(name)) for name in carried)], axis=0)
    # The very bytes of a test image of the target teach its answer.
    known &= ~source.table["near_test"].to_numpy(dtype=bool)
    chosen, _ = selected(source)
    return np.intersect1d(np.intersect1d(source.rows("train"), chosen), np.flatnonzero(known))


def _held_back(source: Role, learnt: np.ndarray, label: str | None, block: Adapt, training: int) -> np.ndarray:
    """Return the rows of ``learnt`` that no candidate may train on, since their labels say what it forgot.

    They are those that trained no head either, and none where nothing is to be chosen.
    """
    if block.use != AUTO or label is None:
        return np.empty(0, np.int64)
    ids = pd.read_parquet(Path(f"models/heads/{training}/held_back.parquet"))["id"]
    apart = source.table["id"].isin(ids).to_numpy() & labelled(source.label(label))
    found = np.intersect1d(learnt, np.flatnonzero(apart))
    if not len(found):
        asking = " and ".join(["what adapters forget", *(name for name in block.scorers if name in WITH_SOURCE)])
        say(f"adapt: the heads held no labelled image of the source back, so {asking} cannot be told")
    return found


def _labelled(
    source: Role,
    model: MultiTask,
    carried: Sequence[str],
    rows: np.ndarray,
    block: Adapt,
    device: torch.device,
    training: int,
) -> Batches:
    """Return rows of the source with the labels that it teaches, as batches to draw from."""
    nothing = np.full(len(rows), None)
    values = {name: source.label(name)[rows] if name in carried else nothing for name in model.specs}
    columns: dict[str, Tensor | Rows] = {
        "images_BCHW": Rows(source.images, rows),
        **label_columns(model.specs, values),
    }
    batches = Batches(columns, block.batch_size, derive_seed(training, "adapt source"))
    batches.place(device)
    return batches


if __name__ == "__main__":
    training = arguments(__doc__ or "", training="one of seeds in params.yaml").training
    main(f"adapt@{training}", lambda stage: run(stage, int(training)), Settings)
