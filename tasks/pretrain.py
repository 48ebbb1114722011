"""Learn an encoder from the source's images alone.

Their labels are read for two settings only, which are off by default: ``pretrain.watch``, a probe that is shown and
chooses nothing, and the method ``supervised``, the baseline that self-supervision is compared with.
"""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor

from pipeline_lib.core.compute import resolve_device, resolve_hardware, seed_everything
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import write_csv, write_json
from pipeline_lib.core.processes import leads
from pipeline_lib.core.progress import say
from pipeline_lib.core.registry import pick, with_options
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.roles import Role
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.batch_norm import hold_statistics
from pipeline_lib.encoders.encoder import Encoder, from_config, save_model
from pipeline_lib.encoders.weights import load_pretrained, size_of, stem_of
from pipeline_lib.labels import KINDS
from pipeline_lib.methods import LABELLED, METHODS, kept_encoder
from pipeline_lib.training import Hardware
from pipeline_lib.training.probe import FeatureProbe
from pipeline_lib.views import augment
from tasks.blocks.image import Framed
from tasks.blocks.labels import Primary
from tasks.blocks.pretrain import Pretrain
from tasks.blocks.shared import Computed, Roles
from tasks.blocks.training import RANDOM, peak_rate
from tasks.fitting import train
from tasks.roles import framing, read_both, selected
from tasks.settings import written_in
from tasks.stage import Stage, arguments, main

# Enough to estimate a rank and a spread, few enough to look at after every epoch.
WATCHED = 1000


class Settings(Primary, Roles, Framed, Computed):
    """What this stage reads of params.yaml."""

    pretrain: Pretrain = Pretrain()


def run(stage: Stage[Settings], training: int) -> None:
    """Pretrain on the selected images of the source, as the training with the seed ``training``."""
    params, device = stage.params, resolve_device(stage.params.device)
    supervised = params.primary_label if params.pretrain.method in LABELLED else None
    source, target = read_both(params, sorted({name for name in (params.pretrain.watch, supervised) if name}), ())
    with written_in("pretrain"):
        _run(stage, training, source, target, supervised, device)


def _run(
    stage: Stage[Settings], training: int, source: Role, target: Role, supervised: str | None, device: torch.device
) -> None:
    params, block, seed = stage.params, stage.params.pretrain, derive_seed(training, "pretrain")
    resolve_hardware(device, block.devices * block.num_nodes, block.batch_size, block.precision)
    if block.method in LABELLED and supervised is None:
        raise UserError(f"method is '{block.method}', which needs a label, but the labels block has none: add it there")
    rows, weights = selected(source)
    options, columns = dict(block.options), {}
    if supervised:
        classes = _classes(source, params.label_kinds[supervised], supervised)
        rows, weights = (values[(classes[rows] >= 0)] for values in (rows, weights))
        options["num_classes"] = int(classes.max()) + 1
        columns["labels"] = torch.from_numpy(classes[rows])
    if len(rows) < 2:
        raise UserError(f"{len(rows)} images of the source are left to train on, and it takes two: add some")
    if len(rows) < block.batch_size:
        say(f"pretrain: there are {len(rows)} images, so a batch has that many and not {block.batch_size}")
    images: dict[str, Any] = {"images_BCHW": Rows(source.images, rows)}

    seed_everything(seed)
    encoder = _encoder(block, source, params.image.size, seed)
    start = {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}
    given = block.weights != RANDOM
    if block.hold_statistics and given:
        hold_statistics(encoder)
    method = with_options(pick(METHODS, block.method, "method"), options, "options")
    learner = method(encoder, augment(encoder, block.views.model_dump(), block.transforms))
    history = train(
        stage,
        block,
        learner,
        {**columns, **images},
        name="pretrain",
        seed=seed,
        lr=peak_rate(block, given),
        weights=None if bool((weights == weights[0]).all()) else torch.from_numpy(weights),
        hardware=Hardware(device, block.devices, block.num_nodes, block.strategy, block.precision),
        optimizer=block.optimizer,
        watch=_watch(encoder, source, block, params, rows),
        loggers=_loggers(block, stage),
    )
    if not leads():
        return
    if speed := history.attrs["speed"]:  # none where an earlier process had trained to the end
        say(
            f"pretrain: {speed['images_per_second']:.0f} images a second, {speed['data_wait']:.1%} of the time waiting "
            f"for data, at most {speed['gigabytes']:.1f} GB of memory"
        )
    kept = kept_encoder(learner)
    folder = stage.output(f"models/encoder/{training}")
    config = {
        **kept.config(),
        "framing": framing(source, target),
        "method": block.method,
        "weights": block.weights,
        "fingerprint": stage.fingerprint,
    }
    save_model(folder, kept, config)
    # What pretraining has to beat: its own encoder before the first step.
    kept.load_state_dict(start)
    save_model(folder / "start", kept, config)
    write_csv(stage.output(f"plots/pretrain/{training}.csv"), history)
    last = history.iloc[-1].drop("epoch").to_dict()
    metrics = {**last, "images": len(rows), "epochs": block.epochs}
    write_json(stage.output(f"metrics/pretrain/{training}.json"), metrics)


def _encoder(block: Pretrain, source: Role, image_size: int, seed: int) -> Encoder:
    weights = {RANDOM: None, "hub": "hub"}.get(block.weights, block.weights_path)
    recipe = {
        "encoder": block.encoder,
        "channels": source.images.shape[3],
        "size": block.size or image_size,
        "mean": source.mean,
        "std": source.std,
    }
    encoder = from_config({**recipe, "stem": stem_of(weights)}, seed)
    if weights is not None:
        say(f"pretrain: {load_pretrained(encoder, weights, partial=block.allow_partial)}")
        if (learnt_at := size_of(weights, block.encoder) or 0) >= 2 * encoder.size:
            say(
                f"pretrain: the weights of {block.encoder} are made for {learnt_at} px and see {encoder.size}: larger "
                "pictures (image.size, content, pretrain.size) may tell them more, and take longer"
            )
    return encoder


def _classes(source: Role, kind: str, name: str) -> np.ndarray:
    """Return the class numbers of a label in the train split, int64 ``[N]``, -1 elsewhere and where missing."""
    values, train_rows = source.label(name), source.rows("train")
    if not KINDS[kind].has_classes:
        raise UserError(f"the label '{name}' is {kind}, but this takes one of classes: name another as primary")
    spec = KINDS[kind].describe(values[train_rows])
    if spec["problem"]:
        raise UserError(f"the source's label '{name}' cannot be learnt: {spec['problem']}; label more of the source")
    numbers = np.full(len(source), -1)
    encoded: Tensor = KINDS[kind].encode(values[train_rows], spec)
    numbers[train_rows] = np.where(encoded.numpy() >= 0, encoded.numpy(), -1)
    return numbers


def _watch(
    encoder: Encoder, source: Role, block: Pretrain, params: Settings, rows: np.ndarray
) -> Callable[[], Mapping[str, float]]:
    """Return the probe of the features after each epoch; with a label, kNN from its train to its test split."""
    if block.watch is None:
        return FeatureProbe(encoder, Rows(source.images, _spread(rows)))
    values, kind = source.label(block.watch), KINDS[params.label_kinds[block.watch]]
    spec = kind.describe(values)
    numbers = kind.encode(values, spec) if spec["classes"] else torch.full((len(source),), -1)
    known = numbers.numpy() >= 0
    parts = [source.rows(split)[known[source.rows(split)]] for split in ("train", "test")]
    if not all(map(len, parts)):
        say(f"pretrain: '{block.watch}' is not watched, because a split of the source has no such label")
        return FeatureProbe(encoder, Rows(source.images, _spread(rows)))
    bank, queries = map(_spread, parts)
    labels = (numbers[torch.from_numpy(part)] for part in (bank, queries))
    return FeatureProbe(encoder, Rows(source.images, bank), Rows(source.images, queries), *labels)


def _spread(rows: np.ndarray) -> np.ndarray:
    """Return at most WATCHED of the rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(WATCHED, len(rows))).astype(int)]


def _loggers(block: Pretrain, stage: Stage) -> list[Logger]:
    if not block.tensorboard:
        return []
    if not importlib.util.find_spec("tensorboard"):
        raise UserError(
            "tensorboard is true, but the package tensorboard is not installed: install it into .venv, or say false"
        )
    return [TensorBoardLogger(".graftline", name="tensorboard", version=stage.fingerprint)]


if __name__ == "__main__":
    training = arguments(__doc__ or "", training="one of seeds in params.yaml").training
    main(f"pretrain@{training}", lambda stage: run(stage, int(training)), Settings)
