"""How much the choice among adapters loses where there is nothing to adapt to, or where adapting is a trap.

``python -m benchmarks.do_no_harm --data DIR --seeds N`` reads DIR/mnist_usps/mnist.parquet. The source is a random half
of it, and the target is the other half: as it is, so that the domains are one (``halves``), or with five digits, drawn
by the seed, ten times as frequent as the others (``prior``), which misleads adapters that want all classes equally
often. It ends with one line of JSON: ``{"halves": …, "prior": …}``, the points of balanced accuracy, in 0-100, that
what is chosen without labels loses to the source's model (below 0 it gains), as means over the seeds. ``--save`` writes
each seed's values, their spread and the seconds of each method to benchmarks/results.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from benchmarks.adaptation import (
    AUTO,
    Labelled,
    Run,
    Setting,
    adapt_block,
    carry_over,
    file_of,
    judge,
    parser_of_adapters,
    save,
    spread,
)
from benchmarks.jda import read_digits
from benchmarks.scratch import ROOT
from pipeline_lib.adapt.choice import SOURCE_ONLY
from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.progress import say
from pipeline_lib.core.seeds import derive_seed
from tasks.stage import guarded

RESULT = ROOT / "benchmarks/results/do_no_harm.json"
RATIO = 10  # of the frequent classes to the rare ones
METRIC = "balanced_accuracy"  # by accuracy the rare classes, a tenth of the images, would hardly count


def halves(digits: Labelled, seed: int) -> tuple[Labelled, Labelled]:
    """Return two random halves."""
    rows = np.random.default_rng(derive_seed(seed, "halves")).permutation(len(digits.classes))
    first, second = np.array_split(rows, 2)
    return digits.take(first), digits.take(second)


def skewed(digits: Labelled, seed: int) -> Labelled:
    """Return images of half of the classes, drawn by the seed, RATIO times as many as of the others, a class each.

    There are as many as can be without any image twice; a rare class that has too few gives some twice.
    """
    rng = np.random.default_rng(derive_seed(seed, "prior"))
    classes = rng.permutation(np.unique(digits.classes))
    frequent = classes[: len(classes) // 2]
    most = min(int((digits.classes == one).sum()) for one in frequent)
    drawn = []
    for one in classes:
        rows, num = np.flatnonzero(digits.classes == one), most if one in frequent else max(1, round(most / RATIO))
        drawn.append(rng.choice(rows, num, replace=num > len(rows)))
    return digits.take(np.sort(np.concatenate(drawn)))


def lost(runs: Sequence[Run]) -> float:
    """Return the points that ``auto`` loses to the source's model, the mean over the runs."""
    return round(100 * statistics.mean(run.scores[SOURCE_ONLY][METRIC] - run.scores[AUTO][METRIC] for run in runs), 2)


def run_seed(digits: Labelled, seed: int, setting: Setting) -> dict[str, Run]:
    """Run every method from one half to the other, as it is and skewed."""
    source, half = halves(digits, seed)
    targets = {"halves": half, "prior": skewed(half, seed)}
    return {
        name: judge(carry_over(source, target.images, seed, setting), target.classes, METRIC)
        for name, target in targets.items()
    }


def main() -> None:
    """Run the seeds and print the line."""
    arguments = parser_of_adapters(__doc__, RESULT).parse_args()
    digits = read_digits(arguments.data, "mnist")
    setting = Setting(adapt=adapt_block(arguments), device=resolve_device(arguments.device))
    runs: dict[str, list[Run]] = defaultdict(list)
    for seed in range(arguments.seeds):
        say(f"seed {seed + 1} of {arguments.seeds}")
        for name, run in run_seed(digits, seed, setting).items():
            runs[name].append(run)
    line = {name: lost(found) for name, found in runs.items()}
    if arguments.save:
        save(file_of(RESULT, arguments), lost=line, targets={name: spread(found) for name, found in runs.items()})
    print(json.dumps(line))


if __name__ == "__main__":
    guarded(main)
