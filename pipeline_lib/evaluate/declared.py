"""The comparisons that are declared before any score is seen, one for each kind of transfer (and label).

Self-taught: probes on the pretrained encoder against raw pixels and the encoder that pretraining started from.
Multi-task: one model for all labels against a model for each. Transductive: the adapter that is handed on against the
model as it was trained. Unsupervised: k-means in UMAP space on the pretrained encoder, against the same baselines as
self-taught. The constant answer is a baseline of all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline_lib.evaluate.comparisons import Comparison, compare
from pipeline_lib.evaluate.judge import Judge
from pipeline_lib.evaluate.predictions import Predictions
from pipeline_lib.evaluate.probed import Probed
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.tasks import Task
from pipeline_lib.stats.intervals import Replicates, joined, replicates
from pipeline_lib.structure.rand import rand_scorer

DECLARED_AMOUNT = 5
DECLARED_CLUSTERING = ("umap", "kmeans")
# The representations whose worth pretraining is judged by: the method, then its baselines.
SELF_TAUGHT = ("pretrained", "pixels", "start")
SOURCE_ONLY = "source_only"


def declared_amount(amounts: Sequence[int]) -> int:
    """Return the number of labels a class nearest to five, the smaller of two equally near."""
    return min(amounts, key=lambda amount: (abs(amount - DECLARED_AMOUNT), amount))


def self_taught(probed: Probed | None, amounts: Sequence[int]) -> Comparison:
    """Compare probes of the primary label, if there is one, with the declared number of labels."""
    if probed is None:
        return Comparison("self-taught", "pretrained", "", reason="no_primary")
    amount, label = declared_amount(amounts), probed.task.name
    if reason := probed.problem:
        return Comparison("self-taught", "pretrained", probed.judge.kind.main, label, reason=reason)
    scores = {name: probed.scores[name, amount] for name in SELF_TAUGHT}
    facts = {"labels_per_class": amount, "short": probed.draws[amount].short}
    return compare("self-taught", "pretrained", label, probed.judge, scores, **facts)


def multi_task(
    tasks: Mapping[str, Task], judges: Mapping[str, Judge], predictions: Predictions, ids: Mapping[str, np.ndarray]
) -> Iterator[Comparison]:
    """Compare ``multi_task`` with ``single_task``, label by label, where each was held out while it was learnt.

    Not every label need have been learnt alone.

    ``judges`` and ``ids`` are those of the learnt labels: their truth, and the ids of the judges' rows.
    """
    learnt = [task for task in tasks.values() if task.learn_from != "nothing"]
    if len(learnt) < 2:
        only = learnt[0].name if learnt else None
        yield Comparison("multi-task", "multi_task", "", only, reason="one_label" if learnt else "not_learnt")
        return
    for task in learnt:
        judge = judges[task.name]
        if judge.problem:
            yield Comparison("multi-task", "multi_task", judge.kind.main, task.name, reason=judge.problem)
            continue
        if ("single_task", task.name) not in predictions.models:
            yield Comparison("multi-task", "multi_task", judge.kind.main, task.name, reason="not_alone")
            continue
        scores = {
            model: judge.replicates(predictions.answers(model, task.name, task.kind, ids[task.name]))
            for model in ("multi_task", "single_task")
        }
        yield compare("multi-task", "multi_task", task.name, judge, scores, domain=domain_of(task))


def transductive(
    tasks: Mapping[str, Task],
    judges: Mapping[str, Judge],
    predictions: Predictions,
    ids: np.ndarray,
    use: str,
    choices: Sequence[Mapping[str, Any]],
) -> Iterator[Comparison]:
    """Compare the adapter ``use`` with the model before it, on the target's test split, for every label of the source.

    ``judges`` are those of all labels on the target; ``ids`` are the ids of all target images. ``choices`` say under
    ``chosen`` what each training handed on: nothing is compared where that is the model before, in all of them.
    """
    learnt = [task for task in tasks.values() if task.learn_from in ("source", "both")]
    if not learnt:
        yield Comparison("transductive", use, "", reason="not_learnt_from_source")
        return
    if (use, learnt[0].name) not in predictions.models or all(one["chosen"] == SOURCE_ONLY for one in choices):
        reason = _not_adapted(learnt, use)
        for task in learnt:
            yield Comparison("transductive", use, KINDS[task.kind].main, task.name, reason=reason)
        return
    for task in learnt:
        judge = judges[task.name]
        if judge.problem:
            changed = predictions.changed(use, SOURCE_ONLY, task.name, ids)
            facts = {"changed": changed}
            yield Comparison("transductive", use, judge.kind.main, task.name, reason=judge.problem, facts=facts)
            continue
        scores = {
            model: judge.replicates(predictions.answers(model, task.name, task.kind, ids[judge.rows]))
            for model in (use, SOURCE_ONLY)
        }
        yield compare("transductive", use, task.name, judge, scores, unknown=_unknown_classes(task, judge))


def unsupervised(
    primary: Task | None, judge: Judge | None, clusters: Mapping[tuple[str, str, str], Sequence[Sequence[np.ndarray]]]
) -> Comparison:
    """Compare clusterings by the adjusted Rand index on the judge's rows; one single cluster is the constant answer."""
    nothing = Comparison("unsupervised", "pretrained", "ari", primary.name if primary else None)
    if primary is None or judge is None:
        return replace(nothing, reason="no_primary")
    if not KINDS[primary.kind].has_classes:
        return replace(nothing, reason="not_classes")
    if judge.problem or not clusters:
        return replace(nothing, reason=judge.problem or "too_few_images")
    scores = {name: rand_replicates(clusters[name, *DECLARED_CLUSTERING], judge) for name in SELF_TAUGHT}
    one = np.zeros(len(judge.truth_N), dtype=np.int64)
    baselines = {name: scores[name] for name in SELF_TAUGHT[1:]}
    baselines["constant"] = joined([[replicates(rand_scorer(one, judge.truth_N), judge.blocks_N)]])
    # The index is about pairs of images, so no class is too rare for it.
    facts = {"num_images": len(judge.rows), "num_groups": judge.num_groups}
    return replace(nothing, score=scores["pretrained"], baselines=baselines, facts=facts)


def rand_replicates(runs: Sequence[Sequence[np.ndarray]], judge: Judge) -> Replicates:
    """Return the adjusted Rand index of each clustering (of all images) against the judge's truth."""
    return joined(
        [
            [replicates(rand_scorer(run[judge.rows], judge.truth_N), judge.blocks_N) for run in restarts]
            for restarts in runs
        ]
    )


def domain_of(task: Task) -> str:
    """Return the role on whose test split what is learnt of the label is held out."""
    return "source" if task.learn_from == "source" else "target"


def _not_adapted(learnt: Sequence[Task], use: str) -> str:
    """Return the code of why there are no answers of the adapter ``use``."""
    if use in ("none", "auto"):
        return "not_adapted"
    # Most adapters go by classes; some need a kind of encoder, and all of them two images.
    return "not_adapted" if any(KINDS[task.kind].has_classes for task in learnt) else "not_classes"


def _unknown_classes(task: Task, judge: Judge) -> dict[str, int]:
    """Return the classes of the target that the source does not have, with their numbers of test images."""
    if not judge.kind.has_classes:
        return {}
    names, counts = np.unique(judge.truth_N.astype(str), return_counts=True)
    return {
        str(name): int(count) for name, count in zip(names, counts, strict=True) if name not in task.spec["classes"]
    }
