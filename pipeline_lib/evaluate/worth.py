"""Was pretraining worth it? What a few labels reach on the pretrained encoder, beside all that needs no pretraining.

Label by label, with curves over the numbers of labels that probes really had: where a class is rare they are fewer than
a budget asks for, and budgets that come to the same labels are one. Between two numbers a curve runs straight over the
logarithm of labels. Everything is said from the side of pretraining, so each alternative has a row of its own.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline_lib.evaluate.comparisons import bounds
from pipeline_lib.evaluate.declared import declared_amount
from pipeline_lib.evaluate.probed import CONSTANT, Probed
from pipeline_lib.labels.tasks import Task
from pipeline_lib.stats.families import claims
from pipeline_lib.stats.intervals import Estimate, Replicates, combined, estimate

METHOD = "pretrained"
# Made of the pretrained encoder and labels, so they are no alternatives to it.
BUILT_ON = ("supervised", "adapted")
# Those that labels trained: all of a label's, where it is learnt from the target.
TOLD = ("scratch", *BUILT_ON)
NO_GAIN = {"gain": None, "low": None, "high": None}


class Curve(NamedTuple):
    """Scores, of which more is better, by the number of labels behind them, from few to many."""

    labels: Sequence[int]
    scores: Sequence[Replicates]


class Needed(NamedTuple):
    """How many labels a curve needs for a score: None is more than were tried, the first tried is that or fewer.

    ``interval`` is from where it may already do as well, to where it is known to; None where there is none.
    """

    value: float | None
    interval: tuple[float | None, float | None] | None


def worth(probed: Sequence[Probed]) -> list[dict[str, Any]]:
    """Return for each label what pretraining gains over each alternative, and the answer.

    A row is a representation, or the constant answer: its ``scores`` by number of labels, the mean ``gain`` of the
    pretrained encoder over it along the curve (above zero pretraining is the better one), and the labels it ``needed``
    for what the pretrained encoder reaches with each number. Its ``role`` is ``method`` (the pretrained encoder
    itself), ``alternative``, ``built_on`` (made from the method) or ``told`` (trained with all of this label's labels
    in the target, so that few are not few). Alternatives have a ``claim``, "better" or "worse" or None for pretraining
    against them, corrected for all of them and all labels. The ``answer`` is "worth" if pretraining is better than all
    of them, "not_worth" if it is worse than one, else "unclear"; or None, with the ``reason``.
    """
    found = [_label(one) for one in probed]
    gains = {(number, name): gain for number, (_, of_label) in enumerate(found) for name, gain in of_label.items()}
    claimed = claims(gains)
    for number, (label, of_label) in enumerate(found):
        for row in label["rows"]:
            row["claim"] = claimed.get((number, row["name"]))
        label["answer"] = _answer([claimed[number, name] for name in of_label])
    return [label for label, _ in found]


def curve_of(probed: Probed, name: str) -> Curve:
    """Return the curve of a representation, or of the constant answer; that of an error is turned upside down."""
    sign = 1.0 if probed.judge.kind.higher_is_better else -1.0
    scores = [combined(lambda values: sign * values, score) for score in probed.scores_of(name)]
    return Curve(list(probed.amounts), scores)


def mean_gain(method: Curve, other: Curve) -> Replicates:
    """Return by how much one curve is above another on average: the area between them over the logarithm of labels."""
    weights = _weights(method.labels)
    gains = [ours - theirs for ours, theirs in zip(method.scores, other.scores, strict=True)]
    return combined(lambda *parts: sum(weight * part for weight, part in zip(weights, parts, strict=True)), *gains)


def labels_needed(aim: Replicates, curve: Curve) -> Needed:
    """Return how many labels a curve needs to reach the score ``aim``.

    Where it first does, which is the least that can be said for ``aim`` if the curve goes up and down. The interval's
    ends are where the 95% interval of the difference first holds 0, and where it first lies on the curve's side.
    """
    ahead = [estimate(aim - score) for score in curve.scores]
    value = _first_below([one.value for one in ahead], curve.labels)
    ends = [(one.low, one.high) for one in ahead if one.low is not None and one.high is not None]
    if len(ends) < len(ahead):
        return Needed(value, None)
    low, high = (_first_below(heights, curve.labels) for heights in zip(*ends, strict=True))
    return Needed(value, (low, high))


def _label(probed: Probed) -> tuple[dict[str, Any], dict[str, Estimate]]:
    """Return what is found of a label, and the gains over its alternatives."""
    task, kind = probed.task, probed.judge.kind
    found: dict[str, Any] = {
        "label": task.name,
        "metric": kind.main,
        "higher_is_better": kind.higher_is_better,
        # The source has no label of it: what Raina et al. (2007) call self-taught learning.
        "self_taught": not task.counts["source_train"],
        "reason": probed.problem,
        "labels": [],
        "amounts": [],
        "short": [],
        "declared": None,
        "rows": [],
    }
    gains: dict[str, Estimate] = {}
    if probed.problem:
        return found, gains
    method = curve_of(probed, METHOD)
    found["labels"], found["amounts"] = list(method.labels), list(probed.amounts.values())
    found["short"] = [probed.draws[amount].short for amount in found["amounts"]]
    found["declared"] = len(probed.draws[declared_amount(list(probed.draws))].rows[0])
    for name in (*dict.fromkeys(name for name, _ in probed.scores), CONSTANT):
        curve, role = curve_of(probed, name), _role(name, task)
        gain = estimate(mean_gain(method, curve))
        if role == "alternative":
            gains[name] = gain
        shown = zip(probed.amounts, probed.scores_of(name), strict=True)
        # The constant answer needs no labels, and does no better with more.
        asked = zip(*method, strict=True) if name not in (METHOD, CONSTANT) else ()
        found["rows"].append(
            {
                "name": name,
                "role": role,
                "scores": [{"labels": count, **bounds(score, kind.higher_is_better)} for count, score in shown],
                **({"gain": gain.value, "low": gain.low, "high": gain.high} if role != "method" else NO_GAIN),
                "needed": [{"labels": count, **labels_needed(aim, curve)._asdict()} for count, aim in asked],
            }
        )
    return found, gains


def _role(name: str, task: Task) -> str:
    if name == METHOD:
        return "method"
    if name in TOLD and task.learn_from in ("target", "both"):
        return "told"
    return "built_on" if name in BUILT_ON else "alternative"


def _answer(claims_of: Sequence[str | None]) -> str | None:
    if not claims_of:
        return None
    if "worse" in claims_of:
        return "not_worth"
    return "worth" if set(claims_of) == {"better"} else "unclear"


def _weights(labels: Sequence[int]) -> np.ndarray:
    """Return the shares of the trapezoidal rule over the logarithm of labels, ``[K]``, which add up to 1."""
    if len(labels) == 1:
        return np.ones(1)
    steps = np.diff(np.log(labels))
    return (np.append(steps, 0) + np.append(0, steps)) / (2 * steps.sum())


def _first_below(heights: Sequence[float], labels: Sequence[int]) -> float | None:
    """Return where a line through ``heights`` first comes down to 0, None where it does not."""
    if heights[0] <= 0:
        return float(labels[0])
    for place in range(1, len(labels)):
        above, below = heights[place - 1], heights[place]
        if below <= 0:
            start, end = math.log(labels[place - 1]), math.log(labels[place])
            return math.exp(start + above / (above - below) * (end - start))
    return None
