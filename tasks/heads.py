"""Train heads for every label on one shared encoder, beside the baselines that say what sharing is worth.

A label is learnt from the train split of the role that has it; images without it are left out of its loss. Of the
source those images teach that were selected, and as often as their weights say.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pipeline_lib.core.compute import resolve_device, seed_everything
from pipeline_lib.core.files import read_json, write_csv, write_json, write_parquet
from pipeline_lib.core.progress import say
from pipeline_lib.core.registry import pick
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.roles import Role
from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.encoders.encoder import Encoder, from_config, load_encoder, save_model
from pipeline_lib.heads.affinity import Table
from pipeline_lib.heads.familiarity import familiarity
from pipeline_lib.heads.learner import label_columns
from pipeline_lib.heads.learning import Validated, choose_strategy, learn, validation_part
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.predictions import prediction_table
from pipeline_lib.heads.strategies import STRATEGIES, Strategy
from pipeline_lib.heads.weightings import WEIGHTINGS
from pipeline_lib.labels.kind import labelled
from pipeline_lib.labels.tasks import Task, resolve_tasks
from pipeline_lib.views import View, augment
from tasks.blocks.heads import AUTO, Heads
from tasks.blocks.labels import Labelled
from tasks.blocks.shared import Computed, Roles
from tasks.blocks.training import RANDOM, peak_rate
from tasks.fitting import train
from tasks.roles import framing, read_both, selected
from tasks.settings import written_in
from tasks.stage import Stage, arguments, main

CURVE = ["model", "epoch", "loss"]
BATCH_SIZE = 512  # of predictions
Calibration = Mapping[str, Mapping[str, float]]


class Settings(Labelled, Roles, Computed):
    """What this stage reads of params.yaml."""

    heads: Heads = Heads()


def run(stage: Stage[Settings], training: int) -> None:
    """Train on the train splits and predict the test splits, as the training with the seed ``training``."""
    params, device = stage.params, resolve_device(stage.params.device)
    source, target = read_both(params, list(params.labels))
    with written_in("labels"):
        every = resolve_tasks(source, target, params.label_settings)
    with written_in("heads"):
        _run(stage, training, source, target, every, device)


def _run(
    stage: Stage[Settings],
    training: int,
    source: Role,
    target: Role,
    every: Mapping[str, Task],
    device: torch.device,
) -> None:
    block, pretrained = stage.params.heads, Path(f"models/encoder/{training}")
    tasks = {name: task for name, task in every.items() if task.learn_from != "nothing"}
    for name in [name for name in every if name not in tasks]:
        say(f"heads: '{name}' is not learnt: {every[name].problem}")
    if not tasks:
        say("heads: no label is learnt, so the pretrained encoder is handed on as it is")

    weights = _weights(source, target)
    images, values, held_out = _training_set(source, target, tasks, weights > 0)
    weights_N = weights[images.rows]
    ids, keys = (pd.concat([source.table[name], target.table[name]]).to_numpy() for name in ("id", "key"))
    keys_N, apart = keys[images.rows], derive_seed(training, "heads")  # the same images are held back from all
    histories = [pd.DataFrame(columns=CURVE)]
    tables: list[pd.DataFrame] = []
    affinities: dict[str, list[Table]] = {}
    weighting = pick(WEIGHTINGS, block.weighting, "weighting")
    recipe = read_json(pretrained / "config.json")

    def learnt(name: str, strategy: Strategy, wanted: Mapping[str, Task]) -> tuple[MultiTask, Validated]:
        seed = derive_seed(training, "heads", name)
        encoder = start(strategy.pretrained)
        seed_everything(seed)
        model = MultiTask(encoder, {label: task.spec for label, task in wanted.items()})
        columns = label_columns(model.specs, {label: values[label] for label in wanted})
        views = augment(encoder, block.views.model_dump())(View())
        rate = peak_rate(block, given=strategy.pretrained and recipe["weights"] != RANDOM)
        fitted = partial(train, stage, block, name=name, seed=seed, lr=rate)
        history, validated = learn(
            strategy,
            model,
            images,
            columns,
            keys_N,
            views,
            fitted,
            device,
            apart,
            weights_N=None if (weights_N == 1).all() else weights_N,
            weighting=weighting,
            class_balanced=block.class_balanced,
        )
        affinities[name] = history.attrs.get("affinity", [])
        histories.append(history.assign(model=name))
        return model, validated

    def predicted(model: MultiTask, name: str, calibration: Calibration | None = None) -> None:
        table = prediction_table(model, name, ids[held_out.rows], held_out, device, BATCH_SIZE, calibration)
        tables.append(table)

    def start(from_pretrained: bool) -> Encoder:
        if from_pretrained:
            return load_encoder(pretrained)
        return from_config(recipe, derive_seed(training, "pretrain"))

    chosen, use = MultiTask(load_encoder(pretrained), {}), None
    found: dict[str, Validated] = {}
    models: dict[str, MultiTask] = {}
    if not tasks:
        predicted(chosen, "none")
    else:
        strategies = {name: pick(STRATEGIES, name, "strategies") for name in block.strategies}
        if len(tasks) > 1:
            weighting(len(tasks))  # which refuses one that is not installed, as the next line does
        for strategy in strategies.values():
            strategy.refuse(chosen.encoder)  # before any is trained
        for name, strategy in strategies.items():
            models[name], found[name] = learnt(name, strategy, tasks)
            predicted(models[name], name, found[name].calibration)
        use = choose_strategy(found, block.strategies) if block.use == AUTO else block.use
        chosen = models[use]
        # Under one name whatever each training chooses: the model of all labels that is handed on.
        handed_on = tables[list(models).index(use)]
        tables.append(handed_on.assign(model=pd.array(["multi_task"] * len(handed_on), dtype="string")))
        say(f"heads: {', '.join(tasks)} on {len(images)} images; handing on {use}")
        if len(tasks) > 1:
            for number, (label, task) in enumerate(list(tasks.items())[: block.baselines]):
                # Only the place of a label makes the name of a file: labels are the user's words.
                alone, said = learnt(f"single_task_{number}", strategies[use], {label: task})
                predicted(alone, "single_task", said.calibration)

    config = {
        **chosen.config(),
        "framing": framing(source, target),
        "target": stage.params.target,
        "strategy": use,
        "weights": recipe["weights"] if use is None or STRATEGIES[use].pretrained else RANDOM,
        "calibration": found[use].calibration if use else {},
        "learnt_from": {name: task.learn_from for name, task in tasks.items()},
        "fingerprint": stage.fingerprint,
    }
    folder = stage.output(f"models/heads/{training}")
    save_model(folder, chosen, config)
    # Heads alone are fitted to these too, at the end.
    part_N = validation_part(keys_N, apart) & (use is not None and STRATEGIES[use].trains(chosen.encoder))
    held_back = pd.DataFrame({"id": pd.array(ids[images.rows[part_N]], dtype="string")})
    write_parquet(folder / "held_back.parquet", held_back)
    if (scratch := models.get("scratch")) is not None:
        # What labels teach without pretraining, to compare with.
        save_model(folder / "scratch", scratch.encoder, scratch.encoder.config())
    known, unknown = (_by_role(rows, len(source)) for rows in (images, held_out))
    if familiar := familiarity(chosen.encoder, known, unknown, device, BATCH_SIZE, training):
        familiar.save(folder)
    write_parquet(stage.output(f"predictions/heads/{training}.parquet"), pd.concat(tables))
    losses = {name: one.losses for name, one in found.items()}
    choice = {
        "chosen": use,
        "reason": "declared" if block.use != AUTO else "validation",
        "losses": losses,
        "labels": list(tasks),
        "affinity": affinities.get(use or "", []),
    }
    write_json(stage.output(f"predictions/heads/{training}.json"), choice)
    curves = pd.concat([history for history in histories if len(history)] or histories)[CURVE]
    write_csv(stage.output(f"plots/heads/{training}.csv"), curves)
    final = curves.groupby("model", sort=True)["loss"].last()
    metrics = {f"loss.{name}": loss for name, loss in final.items()}
    validation = {f"validation.{name}": one.loss for name, one in found.items()}
    write_json(stage.output(f"metrics/heads/{training}.json"), {**metrics, **validation})


def _weights(source: Role, target: Role) -> np.ndarray:
    """Return what each image counts for, float64 ``[source and target]``: 0 for one of the source not selected."""
    rows, weights = selected(source)
    counted = np.concatenate([np.zeros(len(source)), np.ones(len(target))])
    counted[rows] = weights
    return counted


def _training_set(
    source: Role, target: Role, tasks: Mapping[str, Task], counts: np.ndarray
) -> tuple[Rows, dict[str, np.ndarray], Rows]:
    """Return the images to train on, the values of each label on them, and the images that are held out.

    An image of a role from which a label is not learnt is not labelled: so no label of the target is seen that the
    source has. Nor does one teach that does not count (``counts``, bool). Images are numbered through both roles, the
    source's first.
    """
    values = {name: _values(source, target, task) for name, task in tasks.items()}
    any_label = [labelled(known) for known in values.values()]
    train_rows = np.flatnonzero(np.any(any_label, axis=0) & counts) if any_label else np.empty(0, np.int64)
    images = Images(*source.images.paths, *target.images.paths)
    learnt_from = {task.learn_from for task in tasks.values()}
    parts = [source.rows("test")] if "source" in learnt_from else []
    parts += [len(source) + target.rows("test")] if learnt_from & {"target", "both"} else []
    held_out = np.concatenate([np.empty(0, np.int64), *parts])
    return Rows(images, train_rows), {name: known[train_rows] for name, known in values.items()}, Rows(images, held_out)


def _by_role(rows: Rows, num_source: int) -> list[Rows]:
    """Return those of the source and those of the target."""
    ours = rows.rows < num_source
    return [Rows(rows.images, rows.rows[ours]), Rows(rows.images, rows.rows[~ours])]


def _values(source: Role, target: Role, task: Task) -> np.ndarray:
    """Return the values of a label that may be learnt from, object ``[source and target]``, None elsewhere."""
    values = np.full(len(source) + len(target), None, dtype=object)
    for role, start in ((source, 0), (target, len(source))):
        if task.learn_from in (role.name, "both"):
            rows = role.rows("train")
            # The very bytes of a test image teach its answer, whatever group they are in.
            rows = rows[~role.table["near_test"].to_numpy(dtype=bool)[rows]]
            values[start + rows] = role.label(task.name)[rows]
    return values


if __name__ == "__main__":
    training = arguments(__doc__ or "", training="one of seeds in params.yaml").training
    main(f"heads@{training}", lambda stage: run(stage, int(training)), Settings)
