"""Comparisons: a method against every declared baseline, on the same images, draws and trainings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_lib.evaluate.judge import Judge
from pipeline_lib.stats.families import outcomes
from pipeline_lib.stats.intervals import Estimate, Replicates, estimate

Row = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A method against baselines, the first of which is the reference: worse than that is negative transfer.

    ``kind`` is self-taught, multi-task, transductive or unsupervised; ``score`` and ``baselines`` hold one
    metric. ``reason`` is the code of why there is nothing to compare, where there is not. ``facts`` is what else a
    reader needs: images, groups, classes left out, labels a class.
    """

    kind: str
    method: str
    metric: str
    label: str | None = None
    higher_is_better: bool = True
    score: Replicates | None = None
    baselines: Mapping[str, Replicates] = field(default_factory=dict)
    reason: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def gains(self) -> dict[str, Estimate]:
        """Return what the method gains over each baseline: above 0 it is the better one."""
        if self.score is None:
            return {}
        pairs = {
            name: self.score - baseline if self.higher_is_better else baseline - self.score
            for name, baseline in self.baselines.items()
        }
        return {name: estimate(gain) for name, gain in pairs.items()}


def compare(
    kind: str, method: str, label: str, judge: Judge, scores: Mapping[str, Replicates], **facts: Any
) -> Comparison:
    """Compare ``method`` with the other ``scores`` of a label, in their order, and with the constant answer."""
    baselines = {name: score for name, score in scores.items() if name != method}
    return Comparison(
        kind,
        method,
        judge.kind.main,
        label,
        judge.kind.higher_is_better,
        scores[method],
        {**baselines, "constant": judge.constant()},
        facts={
            "num_images": len(judge.rows),
            "num_groups": judge.num_groups,
            "left_out_classes": judge.left_out,
            **facts,
        },
    )


def rows_of(comparisons: Sequence[Comparison]) -> list[Row]:
    """Return the comparisons as plain values, with what can be claimed of each after correcting for all of them."""
    gains = {number: comparison.gains() for number, comparison in enumerate(comparisons)}
    found = outcomes(gains)
    return [_row(one, gains[number], *found[number]) for number, one in enumerate(comparisons)]


def bounds(score: Replicates, higher_is_better: bool) -> Row:
    """Return the value and the ends of the interval of a metric, as far as it goes: to 1 at best, an error to 0."""
    found = estimate(score)
    low, high = found.low, found.high
    if low is not None and high is not None:
        low, high = (low, min(high, 1.0)) if higher_is_better else (max(low, 0.0), high)
    return {"value": found.value, "low": low, "high": high}


def _row(comparison: Comparison, gains: Mapping[str, Estimate], outcome: str, not_beaten: Sequence[str]) -> Row:
    nothing = {"value": None, "low": None, "high": None}
    own = bounds(comparison.score, comparison.higher_is_better) if comparison.score else nothing
    facts = {"num_images": 0, "num_groups": 0, "left_out_classes": 0, "labels_per_class": None, "short": False}
    facts |= comparison.facts
    details = {name: facts.pop(name) for name in list(facts) if name not in _FACTS}
    measured = outcome != "not_measurable"
    return {
        "kind": comparison.kind,
        "label": comparison.label,
        "method": comparison.method,
        "metric": comparison.metric,
        "higher_is_better": comparison.higher_is_better,
        **own,
        "baselines": [
            {
                "name": name,
                "value": float(comparison.baselines[name].values_SR.mean()),
                "gain": gain.value,
                "low": gain.low,
                "high": gain.high,
                "p": gain.p,
            }
            for name, gain in gains.items()
        ],
        "outcome": outcome,
        "not_beaten": list(not_beaten),
        "reason": comparison.reason if not measured or comparison.reason else None,
        "num_seeds": max((gain.num_seeds for gain in gains.values()), default=0),
        "num_draws": max((gain.num_draws for gain in gains.values()), default=0),
        **facts,
        "details": details,
    }


_FACTS = ("num_images", "num_groups", "left_out_classes", "labels_per_class", "short")
