"""What a sentence is made of: one comparison's method, its score beside a constant answer's, and its rivals."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline_lib.labels import KINDS
from pipeline_lib.report.reasons import briefly
from pipeline_lib.report.words import (
    between,
    clean,
    clustering,
    count,
    difference,
    is_number,
    joined,
    metric,
    named,
    quoted,
    score,
    some,
)

Row = Mapping[str, Any]
AUTO = "auto"  # the adapter that each training chose without target labels
DECLARED_CLUSTERING = ("umap", "kmeans")
AS_CLASSES = 10  # a label without classes is given so many times the number of labels that each class is


def action(row: Row, evaluation: Mapping[str, Any]) -> str:
    """Return what was done, as the subject of a sentence."""
    return ACTIONS[row["kind"]](row, evaluation)


def holder(row: Row, evaluation: Mapping[str, Any]) -> str:
    """Return who has the score, such as "with 5 labels a class of 'digit', a probe on the pretrained encoder"."""
    return HOLDERS[row["kind"]](row, evaluation)


def measured(row: Row) -> str:
    """Return the score with its name, and the constant answer's unless it is one of the rivals."""
    said = metric(row["metric"])
    text = f"{said.phrase} of {score(row['value'], row['metric'])}"
    text += " in the label's unit" if said.unit == "own" else ""
    constant = None if "constant" in _names(rivals(row)) else _baseline(row, "constant")
    if constant is None:
        return text
    return f"{text}, where {named('constant', row['metric'])} has {score(constant['value'], row['metric'])}"


def brief(row: Row) -> str:
    """Return the scores of a label in a list: its own, and those of what it is compared with."""
    if row["outcome"] == "not_measurable":
        return briefly(row)
    own = f"{metric(row['metric']).words} {score(row['value'], row['metric'])}"
    if row["outcome"] == "unclear":
        constant = "" if "constant" in _names(rivals(row)) else _with(row, "constant")
        return f"{own}{constant}, {against(row, intervals=False)}"
    return own + "".join(_with(row, name) for name in dict.fromkeys([row["baselines"][0]["name"], "constant"]))


def rivals(row: Row) -> list[Mapping[str, Any]]:
    """Return the baselines that a sentence is about: all that are beaten, the one that is better, or those as good."""
    baselines = list(row["baselines"])
    as_good = [one for one in baselines if one["name"] in row["not_beaten"]]
    if row["outcome"] == "helped":
        return [one for one in baselines if one["name"] != "constant"] or baselines
    if row["outcome"] == "harmed":
        return [*baselines[:1], *(one for one in as_good if one is not baselines[0])]
    return as_good or baselines[:1]


def against(row: Row, intervals: bool = True) -> str:
    """Return "better than a and b", "worse than a" or "no better than a", each with its score and the difference."""
    told, rest = [], rivals(row)
    if row["outcome"] == "helped":
        return f"better than {some(_rival(one, row, intervals) for one in rest)}"
    if row["outcome"] == "harmed":
        told.append(f"worse than {_rival(rest[0], row, intervals)}")
        rest = rest[1:]
    ahead = [one for one in rest if is_number(one["gain"]) and one["gain"] > 0]
    behind = [one for one in rest if one not in ahead]
    for words, ones in (("no better than", behind), ("not clearly better than", ahead)):
        if ones:
            told.append(f"{words} {joined([_rival(one, row, intervals) for one in ones], 'or')}")
    return joined(told)


def beats_constant(row: Row) -> bool:
    """Say whether the method is known to be better than a constant answer."""
    constant = _baseline(row, "constant")
    if row["outcome"] == "not_measurable" or constant is None or "constant" in row["not_beaten"]:
        return False
    return row["outcome"] == "helped" or (is_number(constant["low"]) and constant["low"] > 0)


def beside_constant(row: Row, again: bool = False) -> str:
    """Return the score and how the constant answer's compares with it, for a row of any outcome.

    ``again`` leaves out the name of the score, because it was said just before.
    """
    said, constant = metric(row["metric"]), _baseline(row, "constant")
    own = score(row["value"], row["metric"])
    text = own if again else f"{said.phrase} of {own}{' in its unit' if said.unit == 'own' else ''}"
    if constant is None:
        return text
    name, value = named("constant", row["metric"]), score(constant["value"], row["metric"])
    if beats_constant(row):
        return f"{text} ({name} {value})" if again else f"{text}, where {name} has {value}"
    clearly = "not clearly" if is_number(constant["gain"]) and constant["gain"] > 0 else "no"
    return f"{text}, {clearly} better than {name} ({value})"


def in_hindsight(row: Row, evaluation: Mapping[str, Any]) -> str:
    """Name what the labels that score would have chosen, if the method beats a constant answer and this the method."""
    if not beats_constant(row):
        return ""
    sign = 1 if row["higher_is_better"] else -1
    found = [one for one in _candidates(row, evaluation) if is_number(one[1])]
    best = max(found, key=lambda one: sign * one[1], default=None)
    # Told apart only where the two look different as they are written.
    if best is None or sign * best[1] <= sign * row["value"] or _same(best[1], row):
        return ""
    value = score(best[1], row["metric"])
    return f" Best in hindsight, chosen by the labels that score it, is {best[0]} ({value})."


def _candidates(row: Row, evaluation: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield name and score of everything that was tried."""
    if row["kind"] == "transductive":
        for one in evaluation["scores"]:
            if (one["domain"], one["label"], one["metric"]) == ("target", row["label"], row["metric"]):
                yield named(one["model"]), one["value"]
    elif row["kind"] == "unsupervised":
        for one in evaluation["clusterings"]:
            yield f"{clustering(one['space'], one['clusterer'])} on {named(one['representation'])}", one["ari"]


def _same(value: float, row: Row) -> bool:
    return score(value, row["metric"]) == score(row["value"], row["metric"])


def _rival(one: Mapping[str, Any], row: Row, intervals: bool) -> str:
    """Return a baseline with its score, and by how much the method's own differs from it."""
    name, value = named(one["name"], row["metric"]), score(one["value"], row["metric"])
    if not intervals or not is_number(one["gain"]):
        return f"{name} ({value})" if intervals else f"{name} at {value}"
    sign = 1 if row["higher_is_better"] else -1
    parts = [difference(sign * one["gain"], row["metric"])]
    if is_number(one["low"]) and is_number(one["high"]):
        low, high = sorted((sign * one["low"], sign * one["high"]))
        parts.append(between(low, high, row["metric"]))
        if row["outcome"] == "unclear" and (low > 0 or high < 0):
            parts.append("which is not enough among all comparisons of the run")
    return f"{name} ({value}; {', '.join(parts)})"


def _with(row: Row, name: str) -> str:
    """Return ", 85.0% with a model of its own", or "" if there is no such baseline."""
    one = _baseline(row, name)
    return "" if one is None else f", {score(one['value'], row['metric'])} with {named(name, row['metric'])}"


def _baseline(row: Row, name: str) -> Mapping[str, Any] | None:
    return next((one for one in row["baselines"] if one["name"] == name), None)


def _names(baselines: list[Mapping[str, Any]]) -> list[str]:
    return [one["name"] for one in baselines]


def amount(row: Row, evaluation: Mapping[str, Any]) -> str:
    """Return what a probe learnt from: "5 labels a class", or for a label without classes "50 labels"."""
    kinds = {task["name"]: task["kind"] for task in evaluation["tasks"]}
    if KINDS[kinds[row["label"]]].has_classes:
        return f"{count(row['labels_per_class'], 'label')} a class"
    return count(AS_CLASSES * row["labels_per_class"], "label")


def _probe(row: Row, evaluation: Mapping[str, Any]) -> str:
    return f"with {amount(row, evaluation)} of {quoted(row['label'])}, a probe on {named(row['method'])}"


def _joint(row: Row, evaluation: Mapping[str, Any]) -> str:
    together = [one["label"] for one in evaluation["comparisons"] if one["kind"] == "multi-task"]
    sides = Counter(task["learn_from"] for task in evaluation["tasks"] if task["name"] in together)
    told = f"learning {count(len(together), 'label')} together"
    if sides["source"] and sides["target"]:
        told += (
            f" across the domains ({sides['source']} from the source alone, {sides['target']} from the target alone)"
        )
    return told


def _adapted(row: Row, evaluation: Mapping[str, Any]) -> str:
    return f"adapting to the unlabelled target with {adapter(row['method'], evaluation)}"


def adapter(method: str, evaluation: Mapping[str, Any]) -> str:
    """Return the adapter that is handed on and, where it was chosen, that no label of the target did it."""
    if method != AUTO:
        return clean(method)
    counts = Counter(choice["chosen"] for choice in evaluation["adaptation"]["choices"])
    times = [named(name) if len(counts) == 1 else f"{named(name)} ({times})" for name, times in counts.items()]
    return f"{joined(times)}, chosen without its labels"


def grouping(row: Row) -> str:
    """Return how the images of an unsupervised comparison were grouped, and on what."""
    space, clusterer = (
        row["details"].get(key, declared)
        for key, declared in zip(("space", "clusterer"), DECLARED_CLUSTERING, strict=True)
    )
    return f"{clustering(space, clusterer)} on {named(row['method'])}"


Said = Callable[[Row, Mapping[str, Any]], str]
ACTIONS: Mapping[str, Said] = {
    "self-taught": lambda row, evaluation: "pretraining on the source",
    "multi-task": _joint,
    "transductive": _adapted,
    "unsupervised": lambda row, evaluation: (
        f"in finding the classes of {quoted(row['label'])} without labels, pretraining on the source"
    ),
}
HOLDERS: Mapping[str, Said] = {
    "self-taught": _probe,
    "multi-task": lambda row, evaluation: f"on {quoted(row['label'])} {named(row['method'])}",
    "transductive": lambda row, evaluation: f"on {quoted(row['label'])} {named(row['method'])}",
    "unsupervised": lambda row, evaluation: f"against {quoted(row['label'])}, {grouping(row)}",
}
