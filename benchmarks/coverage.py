"""Simulate experiments whose truth is known and count how often the intervals hold it and what is claimed falsely.

``python -m benchmarks.coverage --trials 500`` goes through the code that evaluates real runs (blocks of images, the
jackknife, estimates, families) and ends with one line of JSON: the share of the 95% intervals of a paired difference
of balanced accuracies that hold the truth, for one training on independent images (``plain``), for trainings whose
luck varies the effect (``seeds_3``, ``seeds_5``), for 40 groups of 25 images (``groups``), for groups and 3 seeds
(``both``) and for probes of several label draws (``draws``); the share of runs of 20 labels and 4 other comparisons,
none of which changed anything, with any claim (``false_claims``); and how often an encoder that is as good as its
start is said to have helped (``equal_start``). ``--save`` writes these, and harder cases, to
benchmarks/results/coverage.json.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import norm

from benchmarks.machine import machine
from benchmarks.scratch import ROOT
from pipeline_lib.core.files import write_json
from pipeline_lib.core.progress import progress
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.stats.families import outcomes
from pipeline_lib.stats.intervals import Estimate, Replicates, blocks_of, estimate, joined, replicates

RESULT = ROOT / "benchmarks/results/coverage.json"
SHARES = (0.6, 0.3, 0.1)
BASELINE, METHOD = (0.70, 0.60, 0.50), (0.75, 0.68, 0.55)


@dataclass(frozen=True)
class World:
    """How predictions come about: an image is classified right where a normal latent number is above 0.

    ``shares`` are those of the classes and ``rates`` each method's probability of being right, class by class,
    averaged over everything that is random. The other numbers are variances of the latent, beside a variance of 1 for
    noise that each method, training and image has by itself: ``luck`` of a method's training (or draw), ``image``
    what an image has in common for all methods and trainings, ``own`` what it has with one method, and ``group``
    the share of these two that images of a group have in common.
    """

    num_images: int = 400
    num_groups: int | None = None
    seeds: int = 1
    draws: int = 1
    shares: Sequence[float] = SHARES
    rates: Sequence[Sequence[float]] = (METHOD, BASELINE)
    luck: float = 0.0
    image: float = 1.0
    own: float = 0.5
    group: float = 0.0

    @property
    def truth(self) -> float:
        """The difference of the first two methods' balanced accuracies over all that could be drawn."""
        return float(np.mean(self.rates[0]) - np.mean(self.rates[1]))


SCENARIOS: Mapping[str, World] = {
    "plain": World(),
    "seeds_3": World(seeds=3, luck=0.02),
    "seeds_5": World(seeds=5, luck=0.02),
    "groups": World(num_images=1000, num_groups=40, group=0.5),
    "both": World(num_images=1000, num_groups=40, group=0.5, seeds=3, luck=0.02),
    "draws": World(draws=5, luck=0.05),
}
HARDER: Mapping[str, World] = {
    "seeds vary most": World(seeds=3, luck=0.5),
    "seeds vary most, 2 seeds": World(seeds=2, luck=0.5),
    "seeds do not vary": World(seeds=3),
    "seeds do not vary and images agree on nothing": World(seeds=3, image=0.0, own=0.0),
    "one seed of many that vary (the interval is about that one alone)": World(luck=0.05),
    "3 seeds and 5 draws": World(seeds=3, draws=5, luck=0.03),
    "8 groups": World(num_images=400, num_groups=8, group=0.5),
    "10 groups": World(num_images=400, num_groups=10, group=0.5),
    "10 groups and 3 seeds": World(num_images=400, num_groups=10, group=0.5, seeds=3, luck=0.02),
    "60 images": World(num_images=60),
    "2,000 images": World(num_images=2000),
    "nearly always right": World(rates=((0.99, 0.99, 0.98), (0.98, 0.98, 0.97))),
    "nearly always right, 3 seeds": World(rates=((0.99, 0.99, 0.98), (0.98, 0.98, 0.97)), seeds=3, luck=0.02),
    "a class of about 10 images": World(shares=(0.6, 0.375, 0.025)),
    "ten classes": World(shares=(0.1,) * 10, rates=((0.8,) * 10, (0.75,) * 10)),
}


def gains(world: World, seed: int) -> list[Replicates]:
    """Draw one experiment and return how much better its first method is than each of the others."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(len(world.shares), world.num_images, p=world.shares)
    groups = np.arange(world.num_images) % (world.num_groups or world.num_images)
    blocks = blocks_of(groups.astype(str), seed)
    shared = _common(world, world.image, groups, rng)
    deviation = np.sqrt(1 + world.luck + world.image + world.own)
    found = []
    for rates in world.rates:
        easy = norm.ppf(rates)[classes] * deviation + shared + _common(world, world.own, groups, rng)
        luck = rng.normal(0, np.sqrt(world.luck), (world.seeds, world.draws, 1))
        right = easy + luck + rng.normal(size=(world.seeds, world.draws, world.num_images)) > 0
        found.append(joined([[_replicates(one, classes, blocks) for one in draws] for draws in right]))
    return [found[0] - other for other in found[1:]]


def _common(world: World, variance: float, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a normal number of this variance for each image, of which groups have their share in common."""
    of_group = rng.normal(0, np.sqrt(variance * world.group), groups.max() + 1)
    return of_group[groups] + rng.normal(0, np.sqrt(variance * (1 - world.group)), world.num_images)


def _replicates(right: np.ndarray, classes: np.ndarray, blocks: np.ndarray) -> tuple[float, np.ndarray]:
    present = np.flatnonzero(np.bincount(classes))

    def balanced_accuracy(rows: np.ndarray) -> float:
        counts = np.bincount(classes[rows], minlength=present[-1] + 1)[present]
        hits = np.bincount(classes[rows], right[rows], minlength=present[-1] + 1)[present]
        return float((hits[counts > 0] / counts[counts > 0]).mean())

    return replicates(balanced_accuracy, blocks)


def coverage(world: World, trials: int, name: str) -> dict[str, float | None]:
    """Return the share of intervals that hold the truth, and how wide they are on average; None without any."""
    found = [estimate(gains(world, derive_seed(trial, name))[0]) for trial in range(trials)]
    made = [(one.low, one.high) for one in found if one.low is not None and one.high is not None]
    if not made:
        return {"coverage": None, "width": None}
    return {
        "coverage": round(float(np.mean([low <= world.truth <= high for low, high in made])), 4),
        "width": round(float(np.mean([high - low for low, high in made])), 4),
    }


def false_claims(world: World, runs: int, num_comparisons: int) -> float:
    """Return the share of runs with any claim, where nothing differs from its reference, and something is worse."""
    same = replace(world, rates=(BASELINE, BASELINE, (0.34, 0.33, 0.33)))
    return _share_claimed(same, runs, num_comparisons, ("helped", "harmed"), ("start", "constant"))


def equal_start(world: World, runs: int) -> float:
    """Return how often an encoder that is as good as its start, and better than pixels, is said to have helped."""
    same = replace(world, rates=(METHOD, METHOD, BASELINE))
    return _share_claimed(same, runs, 1, ("helped",), ("start", "pixels"))


def identical_start(world: World, runs: int) -> float:
    """Return the same of an encoder whose every prediction is that of its start."""
    claimed = 0
    for run in range(runs):
        (gain,) = gains(world, derive_seed(run, "identical"))
        nothing = Replicates(0 * gain.values_SR, 0 * gain.left_out_SRJ)
        claimed += outcomes({0: {"start": estimate(nothing), "pixels": estimate(gain)}})[0].name == "helped"
    return claimed / runs


def _share_claimed(
    world: World, runs: int, num_comparisons: int, claims: Sequence[str], baselines: Sequence[str]
) -> float:
    claimed = 0
    for run in range(runs):
        comparisons: dict[int, dict[str, Estimate]] = {
            index: dict(zip(baselines, map(estimate, gains(world, derive_seed(run, "claims", index))), strict=True))
            for index in range(num_comparisons)
        }
        claimed += any(outcome.name in claims for outcome in outcomes(comparisons).values())
    return round(claimed / runs, 4)


def main() -> None:
    """Simulate, and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500, help="simulated experiments of each kind")
    parser.add_argument("--runs", type=int, default=200, help="simulated runs of 24 comparisons")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.relative_to(ROOT)}, with harder cases")
    arguments = parser.parse_args()
    trials, runs = arguments.trials, arguments.runs
    found, harder = {}, {}
    with progress("coverage", len(SCENARIOS) + 2 + arguments.save * len(HARDER)) as tracker:
        for name, world in SCENARIOS.items():
            found[name] = coverage(world, trials, name)
            tracker.advance()
        claims = false_claims(World(), runs, 24)
        tracker.advance()
        starts = {"equally good": equal_start(World(), trials), "identical": identical_start(World(), trials)}
        tracker.advance()
        for name, world in HARDER.items() if arguments.save else ():
            harder[name] = coverage(world, trials, name)
            tracker.advance()
    line: dict[str, Any] = {
        "coverage": {name: one["coverage"] for name, one in found.items()},
        "false_claims": claims,
        "equal_start": max(starts.values()),
    }
    if arguments.save:
        further = {"width": {name: one["width"] for name, one in found.items()}, "equal_start": starts, **harder}
        write_json(RESULT, {**line, "trials": trials, "runs": runs, "further": further, "machine": machine()})
    print(json.dumps(line))


if __name__ == "__main__":
    main()
