"""Fit a head to features that do not change, over the whole grid of penalties, beside scikit-learn over three of them.

``python -m benchmarks.frozen_heads [--quick]`` draws 50,000 images' features (512 numbers each, in clusters, none below
zero, as behind a ReLU) of 10 classes, and as many as a fifth of them to score. It ends with one line of JSON:

``{"ours_s": …, "sklearn_s": …, "ratio": …, "accuracy": {"ours": …, "sklearn": …}}``

Ours are all 24 penalties, chosen by a fifth of the images and then fitted to all; scikit-learn's are three of them by
``LogisticRegressionCV``, which holds out each fifth in turn by default; it is also given the one fifth that ours is,
which is ``sklearn_one_fold_s``. They run one after the other on the same cores.
``--save`` writes the line to benchmarks/results; ``--quick`` draws 6,000 images.
"""

import argparse
import json
import time
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import PredefinedSplit

from benchmarks.machine import machine
from benchmarks.scratch import ROOT
from pipeline_lib.core.compute import seed_everything
from pipeline_lib.core.files import write_json
from pipeline_lib.core.progress import say
from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.heads.fitting import PENALTIES, choose_penalties, fit_heads
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS

RESULT = ROOT / "benchmarks/results/frozen_heads.json"
NUM, QUICK, DIMS, CLASSES = 50_000, 6_000, 512, 10
COMPARED = PENALTIES[4::8]  # those that scikit-learn tries
RECIPE = {"encoder": "resnet18", "channels": 3, "size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
LABEL = "class"


def draw(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features, float32 ``[N, 512]``, and the numbers of their classes, int64 ``[N]``."""
    x_ND, classes_N = make_classification(
        num,
        DIMS,
        n_informative=60,
        n_redundant=200,
        n_classes=CLASSES,
        n_clusters_per_class=2,
        class_sep=2.0,
        flip_y=0.02,
        random_state=seed,
    )
    return np.maximum(x_ND, 0).astype(np.float32), classes_N.astype(np.int64)


def fit_ours(x_ND: np.ndarray, classes_N: np.ndarray, held_out_N: np.ndarray) -> torch.nn.Module:
    """Return the head that is fitted over the whole grid."""
    seed_everything(0)
    spec = KINDS["multiclass"].describe(classes_N.astype(str).astype(object))
    model = MultiTask(from_config(RECIPE), {LABEL: spec})
    given = (model, [LABEL], torch.from_numpy(x_ND), [torch.from_numpy(classes_N)])
    fit_heads(*given, choose_penalties(*given, torch.from_numpy(held_out_N.astype(np.int64) - 1)))
    return model.head(LABEL)


def fit_sklearn(x_ND: np.ndarray, classes_N: np.ndarray, folds: Any) -> LogisticRegressionCV:
    """Return scikit-learn's choice among COMPARED, which it counts in the sum of losses, not in their mean."""
    variance = float(x_ND.var(axis=0).mean())
    prices = [1 / (len(x_ND) * penalty * variance) for penalty in COMPARED]
    with warnings.catch_warnings():
        # Its hundred steps do not always suffice, and its defaults are about to change.
        for one in (ConvergenceWarning, FutureWarning):
            warnings.simplefilter("ignore", one)
        peer = LogisticRegressionCV(Cs=prices, cv=folds, scoring="neg_log_loss", use_legacy_attributes=False)
        return peer.fit(x_ND, classes_N)


def main() -> None:
    """Time both and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images")
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{RESULT.name}")
    arguments = parser.parse_args()
    num = QUICK if arguments.quick else NUM
    x_ND, classes_N = draw(num + num // 5, seed=0)
    scored_KD, truth_K, x_ND, classes_N = x_ND[num:], classes_N[num:], x_ND[:num], classes_N[:num]
    held_out_N = np.arange(num) % 5 == 0

    began = time.monotonic()
    head = fit_ours(x_ND, classes_N, held_out_N)
    ours_s = time.monotonic() - began
    with torch.no_grad():
        ours = float((head(torch.from_numpy(scored_KD)).argmax(dim=1).numpy() == truth_K).mean())
    say(f"ours: {ours_s:.1f} s, {ours:.4f}")
    seconds, theirs = {}, 0.0
    for name, folds in (("sklearn_one_fold_s", PredefinedSplit(np.where(held_out_N, 0, -1))), ("sklearn_s", 5)):
        began = time.monotonic()
        peer = fit_sklearn(x_ND, classes_N, folds)
        seconds[name] = round(time.monotonic() - began, 2)
        theirs = float((peer.predict(scored_KD) == truth_K).mean())
        say(f"{name}: {seconds[name]} s, {theirs:.4f}")
    line = {
        "ours_s": round(ours_s, 2),
        **seconds,
        "ratio": round(ours_s / seconds["sklearn_s"], 3),
        "accuracy": {"ours": round(ours, 4), "sklearn": round(theirs, 4)},
    }
    if arguments.save:
        write_json(RESULT, {"machine": machine(), "images": num, **line})
    print(json.dumps(line))


if __name__ == "__main__":
    main()
