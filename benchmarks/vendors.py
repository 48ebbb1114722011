"""Carry the categories of emoji over from three vendors to the fourth, each in turn, on concepts never seen.

``python -m benchmarks.vendors --data DIR --seeds N [--quick]`` reads DIR/emoji/<vendor>.parquet. The concepts are
split across vendors: those of the test side are in no training set, neither in that of the three vendors, which has
labels, nor in that of the fourth, which has none. The fourth's images of them score. It ends with one line of JSON:

``{"mean_rank": {"source_only": …, …, "auto": …}, "below_source_only": {"adabn": …, …}, "regret": …,
"regrets": {"auto": …, "auto_of_all": …, …}, "runs": N}``

the mean rank of each method by balanced accuracy (1 is the best), in how many runs it is below the source's model, and
how much balanced accuracy the choice without labels (``auto``) loses to the best model, as a mean over the runs, and so
the other ways of choosing: among all methods, and by each scorer alone. A run is a target and a seed. ``--save`` writes
each run's values, their spread and the seconds of each method to benchmarks/results; ``--quick`` takes two targets, one
seed and fewer images.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.adaptation import (
    AUTO,
    AUTO_OF_ALL,
    ORACLE,
    Labelled,
    Run,
    Setting,
    adapt_block,
    carry_over,
    file_of,
    judge,
    parser_of_adapters,
    read_images,
    save,
    spread,
)
from benchmarks.scratch import ROOT
from pipeline_lib.adapt.choice import SOURCE_ONLY
from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.progress import say
from pipeline_lib.core.registry import pick
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.split import draw_split
from tasks.blocks.heads import Heads
from tasks.stage import guarded

RESULT = ROOT / "benchmarks/results/vendors.json"
VENDORS = ("google", "twitter", "fluent3d", "openmoji_color")
SIZE = 32  # px; the files have 64
TEST_FRACTION = 0.3
METRIC = "balanced_accuracy"
QUICK_VENDORS, QUICK_IMAGES = VENDORS[-2:], 600  # images of each vendor
# A mirror image of a drawing is a drawing; of a digit it is none, which is what the default is for.
HEADS = Heads(views=Heads().views.model_copy(update={"flip": 0.5}))


def read_emoji(
    data: Path, limit: int | None = None, size: int = SIZE
) -> tuple[dict[str, Labelled], dict[str, np.ndarray]]:
    """Return the emoji of every vendor with the numbers of their categories, and their concepts (object ``[N]``).

    They have ``size`` px. ``limit`` takes so many of each vendor, at random.
    """
    images: dict[str, np.ndarray] = {}
    tables: dict[str, pd.DataFrame] = {}
    for vendor in VENDORS:
        pictures, table = read_images(data / f"emoji/{vendor}.parquet", size, channels=3, background=255)
        kept = table[table["in_unicode"] == 1]
        if limit is not None and limit < len(kept):
            kept = kept.sample(limit, random_state=0).sort_index()
        images[vendor], tables[vendor] = pictures[kept.index.to_numpy()], kept
    categories = pd.Index(sorted(set().union(*(table["category"] for table in tables.values()))))
    emoji = {
        vendor: Labelled(images[vendor], categories.get_indexer(table["category"]).astype(np.int64))
        for vendor, table in tables.items()
    }
    return emoji, {vendor: table["concept"].to_numpy(dtype=object) for vendor, table in tables.items()}


def tested(concepts: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Return for every vendor which of its images are of the test side, bool ``[N]``: a concept is on one of all."""
    keys = np.concatenate(list(concepts.values()))
    # Not balanced by category, for that would take the target's.
    test = np.array(draw_split(keys.tolist(), TEST_FRACTION, derive_seed(seed, "vendors"))) == "test"
    ends = np.cumsum([len(found) for found in concepts.values()])
    return dict(zip(concepts, np.split(test, ends[:-1]), strict=True))


def run_target(
    target: str, emoji: Mapping[str, Labelled], concepts: Mapping[str, np.ndarray], seed: int, setting: Setting
) -> Run:
    """Run every method with one vendor as the target."""
    test = tested(concepts, seed)
    parts = [emoji[vendor].take(~test[vendor]) for vendor in emoji if vendor != target]
    source = Labelled(np.concatenate([part.images for part in parts]), np.concatenate([part.classes for part in parts]))
    unlabelled, scored = emoji[target].images[~test[target]], emoji[target].take(test[target])
    return judge(carry_over(source, unlabelled, seed, setting, scored.images), scored.classes, METRIC)


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the line of JSON."""
    table = pd.DataFrame([{name: found[METRIC] for name, found in run.scores.items()} for run in runs])
    models = table.drop(columns=[AUTO, AUTO_OF_ALL, ORACLE])
    of_models = models.rank(axis=1, ascending=False)
    # A choice is one of the models: it has the rank of any that scores as it does.
    of_ways = {
        way: [of_models.loc[row, models.loc[row] == table.loc[row, way]].iloc[0] for row in table.index]
        for way in (AUTO, AUTO_OF_ALL)
    }
    ranks = of_models.assign(**of_ways)
    regrets = pd.DataFrame([run.regret(METRIC) for run in runs]).mean()
    below = table.drop(columns=[SOURCE_ONLY, ORACLE]).lt(table[SOURCE_ONLY], axis=0).sum()
    return {
        "mean_rank": {str(name): round(rank, 2) for name, rank in ranks.mean().items()},
        "below_source_only": {str(name): int(count) for name, count in below.items()},
        "regret": round(regrets[AUTO], 4),
        "regrets": {str(way): round(regret, 4) for way, regret in regrets.items()},
        "runs": len(table),
    }


def main() -> None:
    """Take each vendor as the target in turn and print the line."""
    options = parser_of_adapters(__doc__, RESULT)
    options.add_argument("--quick", action="store_true", help="two vendors, one seed, fewer images")
    options.add_argument("--targets", help="some of the vendors, with commas between, saved to a file of their own")
    arguments = options.parse_args()
    targets: Sequence[str] = QUICK_VENDORS if arguments.quick else VENDORS
    result = file_of(RESULT, arguments)
    if arguments.targets:
        targets = tuple(pick({one: one for one in VENDORS}, name, "--targets") for name in arguments.targets.split(","))
        result = result.with_stem("_".join([result.stem, *targets]))
    seeds = 1 if arguments.quick else arguments.seeds
    emoji, concepts = read_emoji(arguments.data, QUICK_IMAGES if arguments.quick else None)
    setting = Setting(HEADS, adapt_block(arguments), resolve_device(arguments.device))
    runs: dict[str, list[Run]] = defaultdict(list)
    for target in targets:
        for seed in range(seeds):
            say(f"to {target}: seed {seed + 1} of {seeds}")
            runs[target].append(run_target(target, emoji, concepts, seed, setting))
        line = summary([run for found in runs.values() for run in found])
        if arguments.save:  # hours may follow: what there is, is kept
            of_targets = {name: spread(found) for name, found in runs.items()}
            save(result, summary=line, targets=of_targets, quick=arguments.quick)
    print(json.dumps(line))


if __name__ == "__main__":
    guarded(main)
