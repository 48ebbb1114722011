"""Seven of ten labels missing: is it better to learn labels together, or each alone?

``python -m benchmarks.missing_labels --data DIR --seeds N [--quick]`` reads DIR/emoji/openmoji_color.parquet. An emoji
has a category (of nine), a skin tone (ordinal), a gender and is a sequence or not; of each of these four, 70% of the
training images lose the value, at random and each label for itself. One model is trained for all labels, by each
weighting, and one for each label alone, on the images that have it. All start from the same random weights, and see
every image that they may as often, as in the pipeline. Concepts that score are in no training. It ends with one line of
JSON, of means over labels and seeds of what each label's kind is judged by (balanced accuracy, quadratic kappa):

``{"multi_task": …, "single_task": …, "gain": {"mean": …, "each": […]}, "better_seeds": …, "seeds": N}``

where ``multi_task`` weighs labels equally and ``gain`` is what it adds, seed by seed. ``--save`` writes every label,
seed and weighting to benchmarks/results, after every seed; ``--quick`` takes 800 images and a few epochs.
"""

import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.adaptation import parser, read_images, recipe_for, save, write_rows
from benchmarks.scratch import ROOT
from pipeline_lib.core.compute import resolve_device, seed_everything
from pipeline_lib.core.progress import say
from pipeline_lib.core.registry import pick
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Rows
from pipeline_lib.data.split import draw_split
from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.encoders.inference import stream
from pipeline_lib.heads.learner import label_columns
from pipeline_lib.heads.learning import BATCH_SIZE, learn
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.strategies import STRATEGIES
from pipeline_lib.heads.weightings import WEIGHTINGS
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import labelled
from pipeline_lib.training import Batches, Hardware, fit
from pipeline_lib.views import View, augment
from tasks.blocks.heads import Heads
from tasks.blocks.training import peak_rate
from tasks.stage import guarded

RESULT = ROOT / "benchmarks/results/missing_labels.json"
VENDOR, SIZE = "openmoji_color", 32  # px
LABELS = {"category": "multiclass", "skin_tone": "ordinal", "gender": "multiclass", "is_zwj": "binary"}
MISSING, TEST_FRACTION = 0.7, 0.3
# A mirror image of a drawing is a drawing.
HEADS = Heads(views=Heads().views.model_copy(update={"flip": 0.5}))
EPOCHS, QUICK_EPOCHS, QUICK_IMAGES = 20, 5, 800
PLAIN = ("equal", "uncertainty")

Values = Mapping[str, np.ndarray]


def read(data: Path, limit: int | None) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Return the images, uint8 ``[N, 3, SIZE, SIZE]``, the values of every label, and the concepts (object ``[N]``)."""
    images, table = read_images(data / f"emoji/{VENDOR}.parquet", SIZE, channels=3, background=255)
    kept: pd.DataFrame = table[table["in_unicode"] == 1]
    if limit is not None and limit < len(kept):
        kept = kept.sample(limit, random_state=0).sort_index()
    # A skin tone of 6 is a mixture of several, which has no place in their order.
    columns = {name: kept[name].astype(str).to_numpy(dtype=object) for name in LABELS}
    columns["skin_tone"][columns["skin_tone"] == "6"] = None
    return images[kept.index.to_numpy()], columns, kept["concept"].to_numpy(dtype=object)


def without(values: Values, seed: int) -> dict[str, np.ndarray]:
    """Return the values of which MISSING of each label's are taken out, at random."""
    found = {}
    for name, values_N in values.items():
        rng = np.random.default_rng(derive_seed(seed, "missing", name))
        known = rng.permutation(np.flatnonzero(labelled(values_N)))
        found[name] = values_N.copy()
        found[name][known[: round(MISSING * len(known))]] = None
    return found


def scores(
    rows: Rows,
    train: np.ndarray,
    test: np.ndarray,
    values: Values,
    given: Values,
    keys: np.ndarray,
    weighting: str,
    seed: int,
    epochs: int,
    device: torch.device,
    recipe: Mapping[str, Any],
) -> dict[str, float]:
    """Return what a model of the labels in ``given`` reaches on the test rows, by label.

    ``given`` are what is known of the rows ``train``; rows of which nothing is known are left out.
    """
    own = np.any([labelled(column) for column in given.values()], axis=0)
    shown = {name: column[own] for name, column in given.items()}
    encoder = from_config(recipe, derive_seed(seed, "encoder"))
    seed_everything(derive_seed(seed, weighting, *given))
    specs = {name: _spec(name, column) for name, column in shown.items()}
    model = MultiTask(encoder, specs)
    images = Rows(rows.images, rows.rows[train[own]])
    views = augment(encoder, HEADS.views.model_dump())(View())
    with tempfile.TemporaryDirectory() as checkpoints:
        learn(
            STRATEGIES["scratch"],
            model,
            images,
            label_columns(specs, shown),
            keys[train[own]],
            views,
            partial(_fit, epochs=epochs, seed=seed, device=device, folder=Path(checkpoints)),
            device,
            seed,
            weighting=WEIGHTINGS[weighting],
        )
    scored = Rows(rows.images, rows.rows[test])
    parts = stream(model, encoder, scored, device, BATCH_SIZE, lambda outputs: outputs, None)
    found = {}
    for name, spec in specs.items():
        kind, truth = KINDS[spec["kind"]], values[name][test]
        answers = kind.decode(torch.cat([part[name] for part in parts]), spec)
        found[name] = kind.score(answers, truth, kind.judged(truth, spec), spec)
    return found


def _spec(name: str, values_N: np.ndarray) -> dict[str, Any]:
    return {key: value for key, value in KINDS[LABELS[name]].describe(values_N).items() if key != "problem"}


def _fit(
    learner: torch.nn.Module, columns: Mapping[str, Any], *, epochs: int, seed: int, device: torch.device, folder: Path
) -> pd.DataFrame:
    return fit(
        learner,
        Batches(columns, HEADS.batch_size, seed),
        name="missing_labels",
        epochs=epochs,
        lr=peak_rate(HEADS, given=False),
        weight_decay=HEADS.weight_decay,
        hardware=Hardware(device),
        seed=seed,
        checkpoints=folder,
    )


def run_seed(seed: int, score: Callable[[Values, str], dict[str, float]], given: Values, names: Sequence[str]) -> Any:
    """Return what every label reaches alone, and together with the others by each weighting."""
    found = {"single_task": {name: score({name: given[name]}, "equal")[name] for name in given}}
    for name in names:
        found[name] = score(given, name)
    told = ", ".join(f"{name} {mean(one):.3f}" for name, one in found.items())
    say(f"seed {seed}: {told}")
    return found


def mean(by_label: Mapping[str, float]) -> float:
    """Return the mean over the labels."""
    return statistics.mean(by_label.values())


def summary(runs: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Return the line of JSON."""
    gains = [mean(run["equal"]) - mean(run["single_task"]) for run in runs]
    return {
        "multi_task": round(statistics.mean(mean(run["equal"]) for run in runs), 4),
        "single_task": round(statistics.mean(mean(run["single_task"]) for run in runs), 4),
        "gain": {"mean": round(statistics.mean(gains), 4), "each": [round(gain, 4) for gain in gains]},
        "better_seeds": sum(gain > 0 for gain in gains),
        "seeds": len(runs),
    }


def main() -> None:
    """Run the seeds and print the line."""
    options = parser(__doc__, RESULT)
    options.add_argument("--quick", action="store_true", help="fewer images and epochs")
    options.add_argument("--epochs", type=int, default=EPOCHS, help="of each training")
    options.add_argument("--weightings", default=",".join(PLAIN), help="beside equal, with commas between")
    arguments = options.parse_args()
    epochs = QUICK_EPOCHS if arguments.quick else arguments.epochs
    images, values, concepts = read(arguments.data, QUICK_IMAGES if arguments.quick else None)
    names = list(dict.fromkeys(["equal", *arguments.weightings.split(",")]))
    for name in names:
        pick(WEIGHTINGS, name, "--weightings")
    device, runs = resolve_device(arguments.device), []
    for seed in range(arguments.seeds):
        split = np.array(draw_split(concepts.tolist(), TEST_FRACTION, derive_seed(seed, "missing_labels")))
        train, test = (np.flatnonzero(split == part) for part in ("train", "test"))
        given = without({name: column[train] for name, column in values.items()}, seed)
        with tempfile.TemporaryDirectory() as folder:
            rows = write_rows(Path(folder) / "images.npy", images)

            def score(shown: Values, weighting: str, one: tuple[Any, ...] = (rows, train, test, values, seed)) -> Any:
                rows, train, test, values, seed = one
                recipe = recipe_for(images[train])
                return scores(rows, train, test, values, shown, concepts, weighting, seed, epochs, device, recipe)

            runs.append(run_seed(seed, score, given, names))
        line = summary(runs)
        if arguments.save:
            save(RESULT, quick=arguments.quick, epochs=epochs, missing=MISSING, images=len(images), runs=runs, **line)
    print(json.dumps(line))


if __name__ == "__main__":
    guarded(main)
