"""The first sentence: what the declared methods reach on the target in each situation a person may be in."""

from collections.abc import Mapping
from typing import Any

from pipeline_lib.labels.kind import MIN_JUDGED
from pipeline_lib.report.phrases import amount, beats_constant, beside_constant, grouping
from pipeline_lib.report.reasons import briefly, enough
from pipeline_lib.report.words import count, is_number, joined, named, quoted, runs, some

Row = Mapping[str, Any]
Way = tuple[str, Row]
SOURCE_ONLY = "source_only"


def headline(evaluation: Mapping[str, Any]) -> str:
    """Say what is reached with labels of the source alone, with a few of the target, and with none at all.

    Methods are those that were declared before any score was seen, never the best by the target's labels.
    """
    primary = evaluation["primary"]
    if primary is None:
        return _no_primary(evaluation)
    rows = {row["kind"]: row for row in evaluation["comparisons"] if row["label"] == primary}
    ways = [*_with_labels(rows, evaluation), *_with_few(rows, evaluation), *_without(rows)]
    if not ways:
        return _not_scored(list(rows.values()), evaluation) + _same(evaluation)
    metrics = [None, *(row["metric"] for _, row in ways)]
    parts = [
        f"{text} has {beside_constant(row, again=row['metric'] == before)}"
        for before, (text, row) in zip(metrics, ways, strict=False)
    ]
    said = "; ".join(parts)
    seeds = runs(len(evaluation["seeds"]))
    if any(beats_constant(row) for _, row in ways):
        return f"On {quoted(primary)} of the target, {seeds}, {said}.{_same(evaluation)}"
    return (
        f"Nothing here is clearly better than a constant answer on {quoted(primary)} of the target, {seeds}: "
        f"{said}.{_same(evaluation)}"
    )


def _with_labels(rows: Mapping[str, Row], evaluation: Mapping[str, Any]) -> list[Way]:
    """Return what models reach that were trained on all labels there are to learn from."""
    learn_from = {task["name"]: task["learn_from"] for task in evaluation["tasks"]}.get(evaluation["primary"])
    if learn_from == "source":
        row = rows.get("transductive")
        if row is None or row["outcome"] == "not_measurable":
            row = _scored(SOURCE_ONLY, evaluation)
        return [(f"with labels of the source alone, {named(row['method'])}", row)] if row else []
    row = rows.get("multi-task")
    if row is None or row["outcome"] == "not_measurable":
        row = _scored("multi_task", evaluation)
    whose = "all labels of its training images" + (" and the source's" if learn_from == "both" else "")
    return [(f"with {whose}, {named(row['method'])}", row)] if row else []


def _with_few(rows: Mapping[str, Row], evaluation: Mapping[str, Any]) -> list[Way]:
    row = rows.get("self-taught")
    if row is None or row["outcome"] == "not_measurable":
        return []
    return [(f"with {amount(row, evaluation)} from its training images, a probe on {named(row['method'])}", row)]


def _without(rows: Mapping[str, Row]) -> list[Way]:
    row = rows.get("unsupervised")
    return (
        [] if row is None or row["outcome"] == "not_measurable" else [(f"with no labels at all, {grouping(row)}", row)]
    )


def _scored(model: str, evaluation: Mapping[str, Any]) -> Row | None:
    """Return a model's main score of the primary label on the target in the shape of a comparison, or None."""
    for one in evaluation["scores"]:
        told = (one["domain"], one["model"], one["label"]) == ("target", model, evaluation["primary"])
        if told and one["main"] and is_number(one["value"]) and is_number(one["constant"]):
            sign = 1 if one["higher_is_better"] else -1
            ends = [sign * (one[end] - one["constant"]) for end in ("low", "high") if is_number(one[end])]
            gain = sign * (one["value"] - one["constant"])
            constant = {"name": "constant", "value": one["constant"], "gain": gain, "low": min(ends, default=None)}
            return {**one, "method": model, "outcome": "unclear", "not_beaten": [], "baselines": [constant]}
    return None


def _no_primary(evaluation: Mapping[str, Any]) -> str:
    names = [quoted(task["name"]) for task in evaluation["tasks"]]
    if not names:
        return (
            "There are no labels, so what carried over to the target cannot be scored: with a label on some of its "
            f"test images, {MIN_JUDGED} of each class or more, it can."
        )
    measured = [row for row in evaluation["comparisons"] if row["outcome"] != "not_measurable"]
    rest = "" if measured else " Without that nothing is scored."
    return f"No label is named as the primary one, so there is no single score: name one ({some(names)}).{rest}"


def _not_scored(rows: list[Row], evaluation: Mapping[str, Any]) -> str:
    """Say what would make the primary label one that can be scored."""
    primary = quoted(evaluation["primary"])
    task = next((task for task in evaluation["tasks"] if task["name"] == evaluation["primary"]), None)
    each = enough(task["kind"] if task else None)
    if task and not task["counts"]["target_test"]:
        return (
            f"What carried over to the target cannot be scored, because none of its test images has the label "
            f"{primary}: label some of them{f', {each}' if each else ''}, and run again."
        )
    why = joined(list(dict.fromkeys(briefly(row) for row in rows)))
    return (
        f"What carried over to the target cannot be scored by the label {primary}{f' ({why})' if why else ''}: "
        f"label more of its images{f', {each}' if each else ''}, or name another primary label."
    )


def _same(evaluation: Mapping[str, Any]) -> str:
    """Return a caveat where so many target images are the source's own that there is little to carry over."""
    same, num = evaluation["same_files"], evaluation["num_images"]["target"]
    if 2 * same < num:
        return ""
    images = count(num, "target image")
    return f" Beware: {same:,} of the {images} are in the source too, so this is hardly another domain."
