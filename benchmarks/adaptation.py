"""What the benchmarks of adaptation share: every adapter on a source with labels and a target without, and its scores.

The parts are the pipeline's, with the defaults of its blocks ``heads`` and ``adapt``. What trains and what chooses is
given the target's images alone; its labels come in afterwards, to score.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.layout import read_parquet
from benchmarks.machine import machine
from pipeline_lib.adapt import ADAPTERS
from pipeline_lib.adapt.carry import carry
from pipeline_lib.adapt.choice import SOURCE_ONLY, choose
from pipeline_lib.adapt.decision import UNSHIFTED, decide
from pipeline_lib.adapt.evidence import HeldBack
from pipeline_lib.adapt.scorers import SCORERS
from pipeline_lib.core.compute import seed_everything
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import write_json, write_npy
from pipeline_lib.core.registry import pick, with_options
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.images import decode, frame
from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.encoders.inference import stream
from pipeline_lib.heads.learner import HeadsLearner, label_columns
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.strategies import STRATEGIES
from pipeline_lib.labels import KINDS
from pipeline_lib.stats.label_shift import prior_of
from pipeline_lib.training import Batches, Hardware, fit
from pipeline_lib.views import View, augment
from tasks.blocks.adapt import Adapt
from tasks.blocks.heads import Heads
from tasks.blocks.training import peak_rate

LABEL = "class"
KIND = KINDS["multiclass"]
# What is chosen without labels among the adapters of the default and among all, and the best by labels.
AUTO, AUTO_OF_ALL, ORACLE = "auto", "auto_of_all", "oracle"
METRICS = ("accuracy", "balanced_accuracy")
BATCH_SIZE = 512  # of predictions


@dataclass(frozen=True)
class Labelled:
    """Images, uint8 ``[N, C, H, W]``, and the number of the class of each, int64 ``[N]``."""

    images: np.ndarray
    classes: np.ndarray

    def take(self, rows: np.ndarray) -> "Labelled":
        """Return the given rows (int64 or bool)."""
        return Labelled(self.images[rows], self.classes[rows])


@dataclass(frozen=True)
class Setting:
    """How the source's model and the adapters train: as the pipeline does where nothing else is said."""

    heads: Heads = field(default_factory=Heads)
    adapt: Adapt = field(default_factory=lambda: Adapt(methods=list(ADAPTERS), use="none"))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Outcome:
    """What each candidate answers (the class of each image that scores, object ``[K]``) and how long it trained.

    The candidates are the source's model as it is and after each adapter. ``chosen`` has the one to hand on by ``auto``
    and ``auto_of_all``, and by each scorer alone among all, of which ``judged`` has the scores; ``reason`` is the code
    of why the last but one chose, and the seconds of ``auto`` are those that choosing took.
    """

    answers: Mapping[str, np.ndarray]
    seconds: Mapping[str, float]
    chosen: Mapping[str, str]
    judged: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Run:
    """The METRICS and ``seconds`` of every method on a target, and what each way of choosing without labels chose.

    ``judged`` has what each scorer said of each method.
    """

    scores: Mapping[str, Mapping[str, float]]
    chosen: Mapping[str, str]
    judged: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def regret(self, metric: str) -> dict[str, float]:
        """Return how much of ``metric`` each way of choosing loses against the best."""
        best = self.scores[ORACLE][metric]
        return {way: best - self.scores[name][metric] for way, name in self.chosen.items()}


def carry_over(
    source: Labelled, target_NCHW: np.ndarray, seed: int, setting: Setting, scored_KCHW: np.ndarray | None = None
) -> Outcome:
    """Train on the source, adapt to the target by every method, choose, and answer for the images that score.

    These are those of the target where no others are given.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = write_rows(folder / "target.npy", target_NCHW)
        scored = rows if scored_KCHW is None else write_rows(folder / "scored.npy", scored_KCHW)
        # As in the pipeline, a fifth of the source is held out, which says whether there is a shift.
        order = np.random.default_rng(derive_seed(seed, "held out")).permutation(len(source.classes))
        held_out, source = source.take(order[: len(order) // 5]), source.take(order[len(order) // 5 :])
        values = {LABEL: source.classes.astype(str).astype(object)}
        specs = {LABEL: KIND.describe(values[LABEL])}
        labels = label_columns(specs, values)
        columns: dict[str, Tensor | Rows] = {"images_BCHW": write_rows(folder / "source.npy", source.images), **labels}

        began = time.monotonic()
        models = {SOURCE_ONLY: _source_model(source, specs, columns, seed, setting, folder)}
        seconds = {SOURCE_ONLY: time.monotonic() - began}
        batches = Batches(columns, setting.adapt.batch_size, derive_seed(seed, "adapt source"))
        batches.place(setting.device)
        for name in setting.adapt.methods:
            began = time.monotonic()
            models[name] = _adapted(name, models[SOURCE_ONLY], batches, rows, seed, setting, folder)
            seconds[name] = time.monotonic() - began
        began = time.monotonic()
        prior_C = prior_of(labels["label_0"].numpy(), len(specs[LABEL]["classes"]))
        held_out_rows = write_rows(folder / "held_out.npy", held_out.images)
        given = (held_out_rows, prior_C, list(SCORERS), setting.device, seed)
        classes = KIND.encode(held_out.classes.astype(str).astype(object), specs[LABEL]).numpy()
        held_back = HeldBack(held_out_rows, classes, np.arange(len(classes)))
        found = decide(models, LABEL, rows, *given, held_back=held_back)
        seconds[AUTO] = time.monotonic() - began
        answers = {name: _answers(model, scored, setting.device) for name, model in models.items()}
    return Outcome(answers, seconds, _choices(found), found["scores"], _reason(found))


def _choices(found: Mapping[str, Any]) -> dict[str, str]:
    """Return what each way of choosing chooses, by the scores of every candidate."""
    default = Adapt()
    scores = {name: of for name, of in found["scores"].items() if name not in found["forgot"]}
    listed = {name: of for name, of in scores.items() if name in (SOURCE_ONLY, *default.methods)}
    ways = {AUTO: (listed, default.scorers), AUTO_OF_ALL: (scores, default.scorers)}
    ways |= {scorer: (scores, [scorer]) for scorer in SCORERS}
    if found["reason"] in UNSHIFTED.values():
        return dict.fromkeys(ways, SOURCE_ONLY)
    return {way: choose(_by(scorers, of)).name for way, (of, scorers) in ways.items()}


def _by(scorers: Sequence[str], scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {name: {scorer: of[scorer] for scorer in scorers} for name, of in scores.items()}


def _reason(found: Mapping[str, Any]) -> str:
    if found["reason"] in UNSHIFTED.values():
        return str(found["reason"])
    kept = {name: of for name, of in found["scores"].items() if name not in found["forgot"]}
    return choose(_by(Adapt().scorers, kept)).reason


def judge(outcome: Outcome, classes_K: np.ndarray, metric: str) -> Run:
    """Score every candidate, the chosen ones (``auto``, ``auto_of_all``) and the best by ``metric`` (``oracle``).

    The last is picked by the target's labels, which nobody has; its seconds are those of everything.
    """
    truth = classes_K.astype(str).astype(object)
    scores: dict[str, dict[str, float]] = {}
    for name, answers in outcome.answers.items():
        found = KIND.scores(answers, truth)
        scores[name] = {key: np.nan if (value := found[key]) is None else value for key in METRICS}
    best = max(scores, key=lambda name: scores[name][metric])
    scores[AUTO], scores[AUTO_OF_ALL] = (scores[outcome.chosen[way]] for way in (AUTO, AUTO_OF_ALL))
    scores[ORACLE] = scores[best]
    seconds = {**outcome.seconds, ORACLE: sum(outcome.seconds.values())}
    seconds[AUTO_OF_ALL] = outcome.seconds[AUTO]
    scored = {name: {**found, "seconds": seconds[name]} for name, found in scores.items()}
    return Run(scored, outcome.chosen, outcome.judged)


def means(runs: Sequence[Run], metric: str) -> dict[str, float]:
    """Return the mean of ``metric`` over the runs, by method."""
    return {name: round(statistics.mean(run.scores[name][metric] for run in runs), 4) for name in runs[0].scores}


def spread(runs: Sequence[Run]) -> dict[str, Any]:
    """Return for each method and number the value of every run and how they are spread, and what was chosen."""
    methods = {
        name: {key: _spread([run.scores[name][key] for run in runs]) for key in found}
        for name, found in runs[0].scores.items()
    }
    judged = [
        {name: {scorer: round(value, 4) for scorer, value in of.items()} for name, of in run.judged.items()}
        for run in runs
    ]
    chosen = {way: [run.chosen[way] for run in runs] for way in runs[0].chosen}
    return {"methods": methods, "chosen": chosen, "judged": judged}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    row = {"mean": statistics.mean(values), "std": deviation, "min": min(values), "max": max(values)}
    return {**{name: round(value, 4) for name, value in row.items()}, "each": [round(value, 4) for value in values]}


def parser(description: str | None, result: Path) -> argparse.ArgumentParser:
    """Return the command line that these benchmarks have in common."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, required=True, help="the folder of larger test data")
    made.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0")
    made.add_argument("--device", default="auto")
    made.add_argument("--save", action="store_true", help=f"write benchmarks/results/{result.name}")
    return made


def parser_of_adapters(description: str | None, result: Path) -> argparse.ArgumentParser:
    """Return the command line of those that run adapters, by default all of them."""
    made = parser(description, result)
    made.add_argument("--methods", default=",".join(ADAPTERS), help="adapters, with commas between (default: all)")
    return made


def adapt_block(arguments: argparse.Namespace) -> Adapt:
    """Return the block of the adapters that were asked for."""
    names = arguments.methods.split(",")
    return Adapt(methods=[name for name in names if pick(ADAPTERS, name, "--methods")], use="none")


def file_of(result: Path, arguments: argparse.Namespace) -> Path:
    """Return the file to save to: one of its own for a part of the adapters."""
    return result if arguments.methods == ",".join(ADAPTERS) else result.with_stem(f"{result.stem}_part")


def save(result: Path, **found: Any) -> None:
    """Write what was found to a file of benchmarks/results, with what it ran on."""
    write_json(result, {"machine": machine(), **found})


def read_images(path: Path, size: int, channels: int, background: int) -> tuple[np.ndarray, Any]:
    """Return the images of a file in the Hugging Face layout, uint8 ``[N, C, size, size]``, and its other columns.

    The pictures fill the frame, as with the pipeline's default. Raises UserError where there is no such file.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: name with --data a folder that has it")
    content, table = read_parquet(path)
    images = [frame(decode(one), size, channels, size, background, invert=False) for one in content]
    return np.stack(images).transpose(0, 3, 1, 2), table


def write_rows(path: Path, images_NCHW: np.ndarray) -> Rows:
    """Return images that are read from a file, which they are written to."""
    write_npy(path, images_NCHW.transpose(0, 2, 3, 1))
    return Rows(Images(path), np.arange(len(images_NCHW)))


def recipe_for(images_NCHW: np.ndarray) -> dict[str, Any]:
    """Return the recipe of the default's encoder for uint8 images, with their own mean and spread."""
    pixels = images_NCHW / 255.0
    return {
        "encoder": "small_cnn",
        "channels": pixels.shape[1],
        "size": pixels.shape[2],
        "mean": pixels.mean(axis=(0, 2, 3)).tolist(),
        "std": pixels.std(axis=(0, 2, 3)).tolist(),
        "stem": None,
    }


def _source_model(
    source: Labelled, specs: Mapping[str, Any], columns: Mapping[str, Any], seed: int, setting: Setting, folder: Path
) -> MultiTask:
    """Return a model of the source's labels, by the strategy ``scratch`` of the stage ``heads``."""
    fitting = derive_seed(seed, "heads", "scratch")
    encoder = from_config(recipe_for(source.images), derive_seed(seed, "pretrain"))
    seed_everything(fitting)
    model = MultiTask(encoder, specs)
    views = augment(encoder, setting.heads.views.model_dump())(View())
    learner = HeadsLearner(model, views, STRATEGIES["scratch"])
    rate = peak_rate(setting.heads, given=False)
    _fit(learner, columns, SOURCE_ONLY, fitting, setting.heads, rate, setting, folder)
    return model


def _adapted(
    name: str, model: MultiTask, source: Batches, rows: Rows, seed: int, setting: Setting, folder: Path
) -> MultiTask:
    """Return a copy of the model that the adapter ``name`` has carried over, as the stage ``adapt`` does."""
    fitting = derive_seed(seed, "adapt", name)
    seed_everything(fitting)
    adapted = copy.deepcopy(model)

    adapter = ADAPTERS[setting.adapt.adapter(name)]

    def fitted(learner: nn.Module, columns: Mapping[str, Any]) -> pd.DataFrame:
        block = setting.adapt.trained_as(name, adapter.rate)
        return _fit(learner, columns, name, fitting, block, block.lr, setting, folder)

    told = with_options(adapter, setting.adapt.candidate(name).options, name)
    carry(told, adapted, LABEL, source, rows, fitted, setting.device)
    return adapted


def _fit(
    learner: nn.Module,
    columns: Mapping[str, Any],
    name: str,
    seed: int,
    block: Heads | Adapt,
    lr: float,
    setting: Setting,
    folder: Path,
) -> pd.DataFrame:
    return fit(
        learner,
        Batches(columns, block.batch_size, seed),
        name=name,
        epochs=block.epochs,
        lr=lr,
        weight_decay=block.weight_decay,
        hardware=Hardware(setting.device),
        seed=seed,
        checkpoints=folder / "checkpoints",
    )


def _answers(model: MultiTask, rows: Rows, device: torch.device) -> np.ndarray:
    """Return the most probable class of each image, object ``[K]``, as text."""
    spec = model.specs[LABEL]
    parts = stream(model, model.encoder, rows, device, BATCH_SIZE, lambda said: KIND.decode(said[LABEL], spec), None)
    return np.concatenate(parts)
