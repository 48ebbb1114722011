"""The tables of the evaluation: what each probe, model and clustering scores, with the constant answer beside it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline_lib.core.progress import progress
from pipeline_lib.evaluate.comparisons import bounds
from pipeline_lib.evaluate.declared import DECLARED_CLUSTERING, rand_replicates
from pipeline_lib.evaluate.judge import Answers, Judge
from pipeline_lib.evaluate.probes import Draws, probe, probe_features
from pipeline_lib.stats.calibration import calibration_error
from pipeline_lib.stats.intervals import Replicates
from pipeline_lib.stats.scores import agreement, matched, mean

Row = dict[str, Any]


def probe_rows(
    features: Mapping[str, Sequence[np.ndarray]],
    truth_N: np.ndarray,
    train_rows: np.ndarray,
    draws: Mapping[int, Draws],
    judge: Judge,
    label: str,
) -> tuple[list[Row], dict[tuple[str, int], Replicates]]:
    """Probe every representation with the same draws of labels; also return the scores behind the rows.

    Both are empty where the judge has nothing to score by or the train split has no label.
    """
    rows: list[Row] = []
    found: dict[tuple[str, int], Replicates] = {}
    if judge.problem or not draws:
        return rows, found
    constant = float(judge.constant().values_SR.mean())
    with progress("probes", len(features) * len(draws)) as tracker:
        for name, trainings in features.items():
            seen = [probe_features(x_ND, train_rows) for x_ND in trainings]
            for amount, drawn in draws.items():
                answers = [probe(x_ND, truth_N, judge.kind.name, drawn.rows, judge.rows) for x_ND in seen]
                found[name, amount] = judge.replicates(answers)
                rows.append(
                    {
                        "representation": name,
                        "label": label,
                        "labels_per_class": amount,
                        "metric": judge.kind.main,
                        **bounds(found[name, amount], judge.kind.higher_is_better),
                        "std": float(found[name, amount].values_SR.std(axis=1).mean()),
                        "repeats": len(drawn.rows),
                        "constant": constant,
                        "short": drawn.short,
                    }
                )
                tracker.advance()
    return rows, found


def score_rows(
    domain: str,
    model: str,
    label: str,
    judge: Judge,
    answers: Answers,
    confidences: Sequence[np.ndarray] = (),
    probabilities: Sequence[np.ndarray | None] = (),
) -> Iterator[Row]:
    """Yield a row for each score of a model's answers, if any can be given; the main one has an interval.

    The last are areas under curves, where all answers have ``probabilities``, and the calibration error, where all have
    ``confidences``: an array a training of either.
    """
    if judge.problem:
        return
    areas = judge.areas(probabilities)
    scores = judge.scores(answers) | areas
    if confidences and all(np.isfinite(one).all() for one in confidences):
        given = zip(confidences, answers, strict=True)
        errors = [calibration_error(sure_N, answer_N == judge.truth_N) for sure_N, (answer_N, *_) in given]
        scores |= {"calibration_error": float(np.mean(errors))}
    main = bounds(judge.replicates(answers), judge.kind.higher_is_better)
    constants = judge.scores([[judge.constant_N]])
    if areas:
        constants |= judge.areas([np.zeros((len(judge.truth_N), len(judge.spec["classes"])))])
    for metric, value in scores.items():
        is_main = metric == judge.kind.main
        yield {
            "domain": domain,
            "model": model,
            "label": label,
            "kind": judge.kind.name,
            "metric": metric,
            "main": is_main,
            "higher_is_better": metric not in ("mae", "calibration_error"),
            "value": value,
            "low": main["low"] if is_main else None,
            "high": main["high"] if is_main else None,
            "constant": constants.get(metric),
        }


def cluster_rows(
    rows: Sequence[Row], clusters: Mapping[tuple[str, str, str], Sequence[Sequence[np.ndarray]]], judge: Judge | None
) -> list[Row]:
    """Add the scores against the classes of the judge's images to the rows of the clusterings, means over all runs.

    Without classes to score by they are None. The declared clustering has an interval.
    """
    nothing = dict.fromkeys(("ari", "ari_low", "ari_high", "ami", "accuracy", "largest_class"))
    scored = []
    for row in rows:
        key = (row["representation"], row["space"], row["clusterer"])
        found: Row = dict(nothing)
        if judge is not None and judge.kind.has_classes and not judge.problem:
            runs = [run[judge.rows] for training in clusters[key] for run in training]
            for score in ("ari", "ami"):
                found[score] = float(np.mean([agreement(run, judge.truth_N)[score] for run in runs]))
            found["accuracy"] = mean(np.array([mean(matched(run, judge.truth_N)) for run in runs], dtype=np.float64))
            found["largest_class"] = float(
                np.unique(judge.truth_N.astype(str), return_counts=True)[1].max() / len(judge.truth_N)
            )
            if key[1:] == DECLARED_CLUSTERING:
                ari = bounds(rand_replicates(clusters[key], judge), higher_is_better=True)
                found |= {"ari_low": ari["low"], "ari_high": ari["high"]}
        scored.append({**row, **found})
    return scored


def delta_m(rows: Sequence[Row], judges: Mapping[str, Judge]) -> Row | None:
    """Return the mean over labels of the relative change of the error of multi_task against single_task, or None.

    Delta-m of Maninis et al. (2019, https://arxiv.org/abs/1904.08918) on errors throughout: above 0, learning together
    makes smaller ones. A label without an error alone has no relative change and is left out.
    """
    changes = []
    for row in rows:
        if row["kind"] != "multi-task" or row["value"] is None:
            continue
        kind = judges[row["label"]].kind
        alone, joint = kind.error(row["baselines"][0]["value"]), kind.error(row["value"])
        if alone > 0:
            changes.append((alone - joint) / alone)
    return {"value": float(np.mean(changes)), "low": None, "high": None} if len(changes) > 1 else None
