"""Train heads for every label on one shared encoder, beside the baselines that say what sharing is worth.

A label is learnt from the train split of the role that has it; images without it are left out of its loss.
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
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.roles import Role
from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.encoders.encoder import Encoder, from_config, load_encoder, save_model
from pipeline_lib.heads.familiarity import familiarity
from pipeline_lib.heads.learner import HeadsLearner, label_columns
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.predictions import prediction_table
from pipeline_lib.labels.kind import labelled
from pipeline_lib.labels.tasks import Task, resolve_tasks
from pipeline_lib.views import View, augment
from tasks.blocks.heads import Heads
from tasks.blocks.labels import Labelled
from tasks.blocks.shared import Computed, Roles
from tasks.fitting import train
from tasks.roles import framing, read_both
from tasks.settings import written_in
from tasks.stage import Stage, arguments, main

CURVE = ["model", "epoch", "loss"]
BATCH_SIZE = 512  # of predictions


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

    images, values, held_out = _training_set(source, target, tasks)
    held_out_ids = pd.concat([source.table["id"], target.table["id"]]).to_numpy()[held_out.rows]
    histories: list[pd.DataFrame] = []
    tables: list[pd.DataFrame] = []

    def fitted(
        name: str, encoder: Encoder, wanted: Mapping[str, Task], frozen: bool, model_name: str = ""
    ) -> MultiTask:
        seed = derive_seed(training, "heads", name)
        seed_everything(seed)
        model = MultiTask(encoder, {label: task.spec for label, task in wanted.items()})
        learner = HeadsLearner(model, augment(encoder, block.views.model_dump())(View()), frozen)
        columns = {"images_BCHW": images, **label_columns(model.specs, values)}
        histories.append(train(stage, block, learner, columns, name=name, seed=seed).assign(model=name))
        tables.append(prediction_table(model, model_name or name, held_out_ids, held_out, device, BATCH_SIZE))
        return model

    untrained = partial(from_config, read_json(pretrained / "config.json"), derive_seed(training, "pretrain"))
    chosen = MultiTask(load_encoder(pretrained), {})
    if not tasks:
        tables.append(prediction_table(chosen, "none", held_out_ids, held_out, device, BATCH_SIZE))
    else:
        models = {
            "finetuned": fitted("multi_task", load_encoder(pretrained), tasks, frozen=False),
            "frozen": fitted("frozen", load_encoder(pretrained), tasks, frozen=True),
            "scratch": fitted("scratch", untrained(), tasks, frozen=False),
        }
        chosen = models[block.train]
        say(f"heads: {', '.join(tasks)} on {len(images)} images; handing on the {block.train} model")
    if len(tasks) > 1:
        for label, task in tasks.items():
            # Only the place of a label makes the name of a file: labels are the user's words.
            number = list(tasks).index(label)
            fitted(f"single_task_{number}", load_encoder(pretrained), {label: task}, False, "single_task")

    config = {
        **chosen.config(),
        "framing": framing(source, target),
        "target": stage.params.target,
        "train": block.train if tasks else None,
        "learnt_from": {name: task.learn_from for name, task in tasks.items()},
        "fingerprint": stage.fingerprint,
    }
    folder = stage.output(f"models/heads/{training}")
    save_model(folder, chosen, config)
    known, unknown = (_by_role(rows, len(source)) for rows in (images, held_out))
    if found := familiarity(chosen.encoder, known, unknown, device, BATCH_SIZE, training):
        found.save(folder)
    write_parquet(stage.output(f"predictions/heads/{training}.parquet"), pd.concat(tables))
    curves = pd.concat(histories)[CURVE] if histories else pd.DataFrame(columns=CURVE)
    write_csv(stage.output(f"plots/heads/{training}.csv"), curves)
    final = curves.groupby("model", sort=True)["loss"].last()
    write_json(stage.output(f"metrics/heads/{training}.json"), {f"loss.{name}": loss for name, loss in final.items()})


def _training_set(source: Role, target: Role, tasks: Mapping[str, Task]) -> tuple[Rows, dict[str, np.ndarray], Rows]:
    """Return the images to train on, the values of each label on them, and the images that are held out.

    An image of a role from which a label is not learnt is not labelled: so no label of the target is seen that the
    source has. Images are numbered through both roles, the source's first.
    """
    values = {name: _values(source, target, task) for name, task in tasks.items()}
    any_label = [labelled(known) for known in values.values()]
    train_rows = np.flatnonzero(np.any(any_label, axis=0)) if any_label else np.empty(0, np.int64)
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
