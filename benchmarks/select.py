"""Does it pay to choose the source? Emoji mixed with as many photographs, of which every strategy keeps half.

``python -m benchmarks.select --data DIR --seeds N [--quick]`` reads DIR/emoji/<vendor>.parquet and
DIR/cifar10/train.parquet. The source is three vendors and as many images of CIFAR-10, without labels and mixed; the
target is the fourth vendor. Each strategy sees the source and the target's training images, by the leading components
of their pixels, and keeps as many images as there are emoji; SimCLR pretrains a ``small_cnn`` on them. A linear probe
learns from the target's training images and scores on concepts that are in no training set. It ends with one line of
JSON, of balanced accuracies as means over the seeds:

``{"random": …, "nearest": …, …, "everything": …, "untrained": …, "gain_low": …, "seeds": N}``

``gain_low`` is the lower end of the 95 % interval (Student's t over the seeds, paired) of what ``nearest`` gains over
``random``. ``everything`` trains on all of the mixture for as many steps as the others; ``untrained`` is the encoder
that all start from. ``--save`` writes each seed's values, what share of each choice were emoji, and the gain of every
strategy over ``random`` with its interval to benchmarks/results; ``--strategies`` takes some of them, and saves to a
file of its own; ``--quick`` takes fewer images and epochs, two seeds and fewer strategies.
"""

import json
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t as student

from benchmarks.adaptation import Labelled, parser, read_images, save
from benchmarks.inductive import TARGET, Task, emoji_task, pretrained
from benchmarks.rank import measured
from benchmarks.scratch import ROOT
from benchmarks.vendors import SIZE, read_emoji, tested
from pipeline_lib.core.progress import say
from pipeline_lib.core.registry import pick
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.inference import features
from pipeline_lib.heads.learning import BATCH_SIZE
from pipeline_lib.select import SELECTORS
from pipeline_lib.stats.components import pixel_components
from tasks.stage import guarded

RESULT = ROOT / "benchmarks/results/select.json"
RANDOM, NEAREST, UNTRAINED, EVERYTHING = "random", "nearest", "untrained", "everything"
STRATEGIES = (
    RANDOM,
    NEAREST,
    "density_ratio",
    "importance",
    "cluster_balanced",
    "k_center",
    "typicality",
    EVERYTHING,
)


@dataclass(frozen=True)
class Scale:
    """How much is computed: images of each vendor, epochs over a choice, seeds at most, and strategies."""

    images: int
    epochs: int
    seeds: int
    strategies: Sequence[str]


WHOLE = Scale(1200, 60, 10**6, STRATEGIES)
QUICK = Scale(300, 2, 2, (RANDOM, NEAREST, EVERYTHING))


class Mixture(NamedTuple):
    """Drawings and as many photographs in a random order, with what strategies see of them and of the target."""

    images: np.ndarray
    is_drawing: np.ndarray
    source_ND: np.ndarray  # noqa: N815
    target_MD: np.ndarray  # noqa: N815


def mixed(
    emoji: Mapping[str, Labelled], photographs: np.ndarray, concepts: Mapping[str, np.ndarray], seed: int
) -> Mixture:
    """Return the source of a seed, which has no concept of the test side, beside the target's training images."""
    test = tested(concepts, seed)
    drawings = np.concatenate([emoji[vendor].images[~test[vendor]] for vendor in emoji if vendor != TARGET])
    rng = np.random.default_rng(derive_seed(seed, "mixture"))
    others = photographs[rng.choice(len(photographs), len(drawings), replace=False)]
    order = rng.permutation(2 * len(drawings))
    images, shown = np.concatenate([drawings, others])[order], emoji[TARGET].images[~test[TARGET]]
    channels_last = [each.transpose(0, 2, 3, 1) for each in (images, shown)]
    return Mixture(images, order < len(drawings), *pixel_components(channels_last, seed))


def run_seed(
    emoji: Mapping[str, Labelled], photographs: np.ndarray, concepts: Mapping[str, np.ndarray], scale: Scale, task: Task
) -> dict[str, dict[str, float]]:
    """Return the ``score`` of every strategy and the share of emoji among what it keeps, ``in_domain``."""
    mixture = mixed(emoji, photographs, concepts, task.seed)
    num_drawings = int(mixture.is_drawing.sum())
    found: dict[str, dict[str, float]] = {}
    for name in scale.strategies:
        size = None if name == EVERYTHING else num_drawings
        chosen = SELECTORS[name](mixture.source_ND, mixture.target_MD, size, task.seed)
        # Twice as many images in half of the epochs are as many steps.
        epochs = scale.epochs // 2 if name == EVERYTHING else scale.epochs
        with tempfile.TemporaryDirectory(dir=task.folder) as folder:
            own = Task(**{**vars(task), "folder": Path(folder)})
            encoder, start = pretrained(mixture.images[chosen.rows], own, epochs)
        if not found:
            found[UNTRAINED] = {"score": probed(start(), task), "in_domain": math.nan}
        found[name] = {"score": probed(encoder, task), "in_domain": float(mixture.is_drawing[chosen.rows].mean())}
        say(f"seed {task.seed}, {name}: {found[name]['score']:.4f}, {found[name]['in_domain']:.0%} emoji")
    return found


def probed(encoder: Encoder, task: Task) -> float:
    """Return the balanced accuracy of a linear probe on the target's test images."""
    x_ND = features(encoder, task.rows, task.device, BATCH_SIZE)
    train, test = task.train, task.test
    return measured(x_ND[train], task.truth[train], x_ND[test], task.truth[test])


def gain(values: Sequence[float], baseline: Sequence[float]) -> dict[str, float | None]:
    """Return the mean paired difference over the seeds with its 95 % interval by Student's t, None for one seed."""
    differences = np.subtract(values, baseline)
    mean, num = float(differences.mean()), len(differences)
    if num < 2:
        return {"mean": mean, "low": None, "high": None}
    half = float(student.ppf(0.975, num - 1)) * float(differences.std(ddof=1)) / math.sqrt(num)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def summary(runs: Sequence[Mapping[str, Mapping[str, float]]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the line of JSON, and the gain of every strategy over a random choice."""
    scores = {name: [run[name]["score"] for run in runs] for name in runs[0]}
    gains = {name: gain(values, scores[RANDOM]) for name, values in scores.items() if name != RANDOM}
    means = {name: round(statistics.mean(values), 4) for name, values in scores.items()}
    low = gains[NEAREST]["low"] if NEAREST in gains else None
    return {**means, "gain_low": None if low is None else round(low, 4), "seeds": len(runs)}, gains


def main() -> None:
    """Run the seeds and print the line."""
    options = parser(__doc__, RESULT)
    options.add_argument("--quick", action="store_true", help="fewer images, epochs and strategies, and two seeds")
    options.add_argument("--strategies", default=",".join(STRATEGIES), help="with commas between (default: all)")
    options.add_argument("--epochs", type=int, default=WHOLE.epochs, help="over a choice (default: %(default)s)")
    arguments = options.parse_args()
    asked = [pick({one: one for one in STRATEGIES}, name, "--strategies") for name in arguments.strategies.split(",")]
    strategies = [RANDOM, *(name for name in asked if name != RANDOM)]
    scale = QUICK if arguments.quick else replace(WHOLE, strategies=strategies, epochs=arguments.epochs)
    result = RESULT if set(strategies) == set(STRATEGIES) else RESULT.with_stem(f"{RESULT.stem}_part")
    emoji, concepts = read_emoji(arguments.data, scale.images)
    photographs, _ = read_images(arguments.data / "cifar10/train.parquet", SIZE, channels=3, background=255)
    runs = []
    for seed in range(min(arguments.seeds, scale.seeds)):
        with tempfile.TemporaryDirectory() as temporary:
            task = emoji_task(emoji, concepts, seed, Path(temporary), arguments.device)
            runs.append(run_seed(emoji, photographs, concepts, scale, task))
        line, gains = summary(runs)
        if arguments.save:  # after each, since they take long
            save(result, summary=line, gains=gains, runs=runs, quick=arguments.quick, scale=asdict(scale))
    print(json.dumps(line))


if __name__ == "__main__":
    guarded(main)
