"""The verdict: for each kind of transfer one comparison, declared before any score was seen, in plain words.

Self-taught: probes on the pretrained encoder against raw pixels. Multi-task: one model for all labels against one
model each. Transductive: the chosen adapter against the model as trained on the source. Unsupervised: k-means in
UMAP space on the pretrained encoder against raw pixels. Every gain is paired and has a 95% bootstrap interval.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline_lib.transfer.bootstrap import percentile_interval, resampled_means
from pipeline_lib.transfer.scores import mean
from pipeline_lib.transfer.words import clustering, labels, percent, points, score, signed, some

Entry = dict[str, Any]
Interval = tuple[float | None, float | None]
DECLARED_AMOUNT = 5
DECLARED_CLUSTERING = ("umap", "kmeans")
NO_SOURCE_LABELS = ("pixels", "untrained", "pretrained")


def outcome(low: float | None, high: float | None) -> str:
    """Say on which side of zero an interval lies: positive, negative, unclear, or unknown where there is none."""
    if low is None or high is None:
        return "unknown"
    return "positive" if low > 0 else "negative" if high < 0 else "unclear"


def declared_amount(amounts: Sequence[int]) -> int:
    """Return the number of labels a class nearest to five, the smaller of two equally near."""
    return min(amounts, key=lambda amount: (abs(amount - DECLARED_AMOUNT), amount))


def self_taught(
    right: Mapping[tuple[str, int], np.ndarray], amount: int, label: str, *, resamples: int, seed: int
) -> Entry:
    """Compare probes with ``amount`` labels a class; ``right`` is ``{(representation, amount): [R, T]}`` or empty."""
    entry = _entry("self-taught", "pretrained", "pixels", f"accuracy of a probe with {labels(amount)} a class")
    if not right:
        return entry | {
            "sentence": f"Not measurable, because too few target images have a '{label}' label: "
            f"label {amount} a class and some to test on."
        }
    compared = _compare(right["pretrained", amount], right["pixels", amount], resamples, seed)
    told = {
        "positive": "Pretraining on the source helped",
        "negative": "Negative transfer, pretraining on the source did harm",
        "unclear": "Pretraining on the source made no clear difference",
    }[compared["outcome"]]
    untrained = _mean(right["untrained", amount])
    better = f"; the encoder without any training is better, {percent(untrained)}"
    return entry | {
        **compared,
        "sentence": f"{told}: with {labels(amount)} a class a probe is right on {percent(compared['value'])} of "
        f"target images, {percent(compared['baseline_value'])} on raw pixels: {points(compared)}"
        f"{better if untrained > compared['value'] else ''}.",
    }


def multi_task(
    parts: Mapping[tuple[str, str], np.ndarray], kinds: Mapping[str, str], *, resamples: int, seed: int
) -> Entry:
    """Compare ``multi_task`` with ``single_task`` by Delta-m; ``parts`` is ``{(model, label): [N]}`` (see per_image).

    Delta-m (Maninis et al. 2019) is the mean over labels of the relative change of the score, its sign turned for
    errors so that more is better. A label whose single-task score is 0 has no relative change and is left out.
    """
    entry = _entry("multi-task", "multi_task", "single_task", "mean relative change over labels (Delta-m)")
    alone = {label: part for (model, label), part in parts.items() if model == "single_task" and _mean(part)}
    if len(alone) < 2:
        return entry | {"sentence": "Not measurable, because it takes two labels or more to learn them together."}
    changes, shown = [], []
    for label, baseline in alone.items():
        joint, kind = parts["multi_task", label], kinds[label]
        sign = -1 if kind == "regression" else 1
        # The first is the change itself, the others are its resamples.
        joint_B, alone_B = (
            np.append(_mean(part), resampled_means(part, resamples, seed)) for part in (joint, baseline)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            changes.append(sign * (joint_B - alone_B) / alone_B)
        shown.append(f"{label} {score(_mean(joint), kind)} (alone {score(_mean(baseline), kind)})")
    delta_m, *resampled = np.mean(changes, axis=0)
    gain = _gain(float(delta_m), np.array(resampled))
    told = {
        "positive": "Learning all labels together helped",
        "negative": "Negative transfer, learning all labels together did harm",
        "unclear": "Learning all labels together made no clear difference",
    }[gain["outcome"]]
    return entry | {
        **gain,
        "sentence": f"{told} on held-out source images: {some(shown)}: {signed(gain['gain'])}% on average "
        f"(95% interval {signed(gain['low'])}% to {signed(gain['high'])}%).",
    }


def transductive(
    parts: Mapping[tuple[str, str], np.ndarray],
    use: str,
    label: str,
    kinds: Mapping[str, str],
    *,
    changed: float,
    unknown_classes: Mapping[str, int],
    resamples: int,
    seed: int,
) -> Entry:
    """Compare the adapter ``use`` with ``source_only`` on ``label``; ``parts`` is ``{(model, label): [N]}``.

    It also says which other labels the adapter harms. ``changed`` is the share of images whose predicted class it
    changed; ``unknown_classes`` are the classes of the target that the source does not have, and their counts.
    """
    entry = _entry("transductive", use, "source_only", f"accuracy of '{label}' on all target images")
    right = {model: part for (model, name), part in parts.items() if name == label}
    if not right:
        return entry | {
            "sentence": f"Not measurable without target labels: {use} changed the predicted class of "
            f"{percent(changed)} of target images, for better or worse."
        }
    compared = _compare(right[use], right["source_only"], resamples, seed)
    told = {
        "positive": "Adapting to the unlabelled target helped",
        "negative": "Negative transfer, adapting to the unlabelled target did harm",
        "unclear": "Adapting to the unlabelled target made no clear difference",
    }[compared["outcome"]]
    asides = []
    best = max(right, key=lambda model: _mean(right[model]))
    if _mean(right[best]) > max(compared["value"], compared["baseline_value"]):
        asides.append(f"{best} reaches {percent(_mean(right[best]))}")
    harmed = []
    for (model, name), part in parts.items():
        before, kind = parts["source_only", name], kinds[name]
        gain = before - part if kind == "regression" else part - before
        if (model, name != label) == (use, True) and _compare(gain, 0 * gain, resamples, seed)["outcome"] == "negative":
            harmed.append(f"{name} ({score(_mean(part), kind)}, before {score(_mean(before), kind)})")
    if harmed:
        asides.append(f"negative transfer to {some(harmed)}")
    if unknown_classes:
        count = sum(unknown_classes.values())
        asides.append(
            f"what is of a class that the source does not have counts as wrong ({count:,}: {some(unknown_classes)})"
        )
    return entry | {
        **compared,
        "sentence": f"{told}: with {use} {percent(compared['value'])} of target images are right, "
        f"{percent(compared['baseline_value'])} before: {'; '.join([points(compared), *asides])}.",
    }


def unsupervised(
    right: Mapping[tuple[str, str, str], np.ndarray], rows: Sequence[Mapping[str, Any]], *, resamples: int, seed: int
) -> Entry:
    """Compare clusters of ``pretrained`` and ``pixels``; ``rows`` are those of the clusterings, with their scores."""
    declared = clustering(*DECLARED_CLUSTERING)
    entry = _entry("unsupervised", "pretrained", "pixels", f"clustering accuracy ({declared})")
    scored = [row for row in rows if row["accuracy"] is not None]
    if not scored:
        shown = [
            f"{row['silhouette']:.2f} on {row['representation']}"
            for row in rows
            if (row["space"], row["clusterer"]) == DECLARED_CLUSTERING
            and row["representation"] in ("pretrained", "pixels")
            and row["silhouette"] is not None
        ]
        tightness = f"; the silhouette of {declared} (1 is tight) is {', '.join(shown)}" if shown else ""
        return entry | {"sentence": f"Not measurable without target labels{tightness}."}
    compared = _compare(
        right["pretrained", *DECLARED_CLUSTERING], right["pixels", *DECLARED_CLUSTERING], resamples, seed
    )
    told = {
        "positive": "Pretraining helped to find the classes without labels",
        "negative": "Negative transfer, pretraining made the classes harder to find without labels",
        "unclear": "Pretraining made no clear difference to finding the classes without labels",
    }[compared["outcome"]]
    best = max(scored, key=lambda row: row["accuracy"])
    return entry | {
        **compared,
        "sentence": f"{told}: {declared} puts {percent(compared['value'])} of target images into the right group, "
        f"{percent(compared['baseline_value'])} on raw pixels: {points(compared)}; best of all clusterings is "
        f"{clustering(best['space'], best['clusterer'])} on {best['representation']}, {percent(best['accuracy'])}.",
    }


def headline(
    adapt_rows: Sequence[Mapping[str, Any]],
    probe_rows: Sequence[Mapping[str, Any]],
    cluster_rows: Sequence[Mapping[str, Any]],
    amount: int,
    *,
    label: str,
    num_labelled: int,
    num_images: int,
) -> str:
    """Say what was best on the target in each situation a person may be in, or that it could not be measured."""
    if not num_labelled:
        return (
            f"The target has no '{label}' labels, so what carried over to it cannot be scored: label some images, "
            f"{amount} a class to learn from and some to test on, and run again."
        )
    of_label = [row for row in adapt_rows if (row["label"], row["metric"]) == (label, "accuracy")]
    top = max(of_label, key=lambda row: row["value"])
    ways = [f"with labels of the source alone {top['model']} ({percent(top['value'])} right)"]
    if probed := [row for row in probe_rows if row["labels_per_class"] == amount]:
        top = max(probed, key=lambda row: row["accuracy"])
        which = f"a probe on {top['representation']} ({percent(top['accuracy'])})"
        ways.append(f"with {labels(amount)} a class of the target {which}")
    top = max(
        (row for row in cluster_rows if row["representation"] in NO_SOURCE_LABELS), key=lambda row: row["accuracy"]
    )
    which = f"{clustering(top['space'], top['clusterer'])} on {top['representation']} ({percent(top['accuracy'])})"
    ways.append(f"with no labels at all {which}")
    few = f", judged by the {num_labelled:,} of {num_images:,} images with a label" if num_labelled < num_images else ""
    return f"Best on the target{few}: {'; '.join(ways)}."


def verdict_lines(headline: str, entries: Sequence[Entry]) -> list[str]:
    """Return the headline and one line for each kind of transfer."""
    told = [(entry["kind"].capitalize(), entry["sentence"]) for entry in entries]
    return [headline, *(f"{kind}: {sentence[0].lower()}{sentence[1:]}" for kind, sentence in told)]


def _entry(kind: str, method: str, baseline: str, metric: str) -> Entry:
    nothing = dict.fromkeys(("value", "baseline_value", "gain", "low", "high"))
    return {"kind": kind, "method": method, "baseline": baseline, "metric": metric, **nothing, "outcome": "unknown"}


def _compare(method: np.ndarray, baseline: np.ndarray, resamples: int, seed: int) -> Entry:
    """Return value, baseline_value, gain and its interval, for scores of the same images (and draws)."""
    apart = method - baseline
    gain = _gain(_mean(apart), resampled_means(apart, resamples, seed))
    return {"value": _mean(method), "baseline_value": _mean(baseline), **gain}


def _gain(gain: float, samples: np.ndarray) -> Entry:
    low, high = percentile_interval(samples)
    return {"gain": gain, "low": low, "high": high, "outcome": outcome(low, high)}


def _mean(values: np.ndarray) -> float:
    value = mean(values)
    assert value is not None, "scores of no image at all"
    return value
