"""Why a comparison was not made, and which labels would have made it: a clause for each code of evaluation.json."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import MIN_JUDGED
from pipeline_lib.report.words import clean, count, joined, quoted, some

MOST_OF_A_CLAUSE = 400  # letters
Row = Mapping[str, Any]


def reason(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    """Return the clause for comparisons of one kind that share a code, such as "cannot be scored, because ...".

    A code that has none here falls back on the explanation of the label's task.
    """
    if told := REASONS.get(rows[0]["reason"]):
        return told[1](rows, evaluation)
    explained = {task["name"]: task["explain"] for task in evaluation["tasks"]}.get(rows[0]["label"], "")
    return f"cannot be measured: {_clause(explained)}" if explained else "cannot be measured with these labels"


def briefly(row: Row) -> str:
    """Return the reason in a few words, for a list of labels."""
    return REASONS[row["reason"]][0] if row["reason"] in REASONS else "not measurable"


def caveats(rows: Sequence[Row]) -> str:
    """Return what bounds the scores of measured comparisons, as sentences to follow theirs."""
    told = []
    if short := [row for row in rows if row["short"] and row["labels_per_class"]]:
        fewer = count(short[0]["labels_per_class"], "labelled training image")
        told.append(
            f"A class of {quoted(short[0]['label'])} has fewer than {fewer} in the target and gives what it has."
        )
    if left_out := [row for row in rows if row["left_out_classes"]]:
        classes = some(
            f"{count(row['left_out_classes'], 'class', 'classes')} of {quoted(row['label'])}" for row in left_out
        )
        are = "is" if sum(row["left_out_classes"] for row in left_out) == 1 else "are"
        told.append(f"{classes} with fewer than {MIN_JUDGED} test images {are} left out.")
    told += [_unknown(row) for row in rows if row["details"].get("unknown")][:1]
    return "".join(f" {one}" for one in told)


def _unknown(row: Row) -> str:
    found = row["details"]["unknown"]
    return (
        f"What is of a class of {quoted(row['label'])} that the source does not have counts as wrong: "
        f"{count(sum(found.values()), 'test image')} ({some(map(quoted, found))})."
    )


def enough(kind: str | None) -> str:
    """Return how many labels a class it takes to be scored, or "" for a kind without classes."""
    return f"{MIN_JUDGED} of each class or more" if kind is None or KINDS[kind].has_classes else ""


def _no_primary(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    if not evaluation["tasks"]:
        return (
            "does not apply, because there is no label: give some images of the source or the target one, and name it "
            "as the primary label"
        )
    names = some(quoted(task["name"]) for task in evaluation["tasks"])
    return f"does not apply, because no label is named as the primary one, which this is about: name one ({names})"


def _no_target_test_labels(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    return (
        f"cannot be scored, because no test image of the {_role(rows, evaluation)} has {_labels(rows, 'or')}: "
        f"labels on some of them{_of_each(rows, evaluation)} would make it possible"
    )


def _no_target_train_labels(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    return (
        f"cannot be measured, because no training image of the target has {_labels(rows, 'or')}: "
        "labels on a few of them, to learn from, would make it possible"
    )


def _not_learnt_from_source(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    if rows[0]["label"] is None:
        nothing = "no label is" if evaluation["tasks"] else "there is no label to be"
        return (
            f"does not apply, because {nothing} learnt from the source, so that there is nothing to adapt to the "
            "target: labels on training images of the source would make it apply"
        )
    are = "is" if len(rows) == 1 else "are"
    return (
        f"does not apply, because {_labels(rows)} {are} not learnt from the source, so that there is nothing to "
        "adapt to the target: labels on training images of the source would make it apply"
    )


def _not_learnt(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    if rows[0]["label"] is None:
        nothing = "no label can be" if evaluation["tasks"] else "there is no label to be"
        return (
            f"does not apply, because {nothing} learnt: labels on training images of the source or the target would "
            "make it apply"
        )
    problems = {task["name"]: task["problem"] for task in evaluation["tasks"] if task["problem"]}
    found = problems.get(rows[0]["label"]) if len(rows) == 1 else None
    return (
        f"does not apply, because {_labels(rows)} cannot be learnt{f' ({_clause(found)})' if found else ''}: "
        "labels on training images of the source or the target would make it apply"
    )


def _one_label(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    learnt = [task["name"] for task in evaluation["tasks"] if task["learn_from"] != "nothing"]
    only = f"{quoted(learnt[0])} is the only label that is learnt" if len(learnt) == 1 else "no two labels are learnt"
    return (
        f"does not apply, because {only}, and it takes two to learn them together: another label on training images of "
        "the source or the target would make it apply"
    )


def _not_alone(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    are = "is" if len(rows) == 1 else "are"
    return (
        f"is not measured for {_labels(rows)}, which {are} not learnt alone too: more baselines of heads would make "
        "it possible"
    )


def kept_because(choices: Sequence[Mapping[str, Any]]) -> str:
    """Return why models were left as they were trained, as a clause."""
    return joined(list(dict.fromkeys(KEPT[choice["reason"]] for choice in choices)))


def _not_adapted(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    choices = evaluation["adaptation"]["choices"]
    if evaluation["use"] == "auto" and choices:
        return (
            f"was left out, because {kept_because(choices)}: so the model is handed on as it was trained (name an "
            "adapter to use in its place, to have it all the same)"
        )
    if evaluation["use"] == "none":
        why = "no adapter is handed on"
    else:
        why = f"{evaluation['use']} does not fit this encoder or target (adapt says what it lacks)"
    return f"does not apply, because {why}, so the model stays as it was trained: name another adapter to use"


def _one_class(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    have = "has" if len(rows) == 1 else "have"
    return (
        f"cannot be measured, because {_labels(rows)} {have} one class only among the {_role(rows, evaluation)}'s test "
        "images: labels on images of another class would make it possible"
    )


def _too_few_images(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    return (
        f"cannot be measured, because too few test images of the {_role(rows, evaluation)} have {_labels(rows, 'or')}: "
        f"labels on more of them{_of_each(rows, evaluation)} would make it possible"
    )


def _not_classes(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    return (
        f"does not apply to {_labels(rows)}, which {'does' if len(rows) == 1 else 'do'} not put each image into one "
        "class: a primary label of classes would make it apply"
    )


# Why a choice without target labels left the model as it was trained.
KEPT: Mapping[str, str] = {
    "no_candidate": "there is no adapter to choose that applies to it",
    "no_shift": "source and target cannot be told apart, so that there is nothing to adapt to",
    "other_prior": "source and target seem to differ in how frequent the classes are, and in nothing else",
    "not_preferred": "most of what judges without labels prefers no adapter to it",
    "forgot": "what most of what judges without labels prefers has forgotten the source",
    "preferred": "most of what judges without labels prefers an adapter",
}

# In a few words, and as a clause that also says what would make it apply.
REASONS: Mapping[str, tuple[str, Callable[[Sequence[Row], Mapping[str, Any]], str]]] = {
    "no_primary": ("no primary label", _no_primary),
    "no_target_test_labels": ("no labelled test image", _no_target_test_labels),
    "no_target_train_labels": ("no labelled training image in the target", _no_target_train_labels),
    "not_learnt_from_source": ("not learnt from the source", _not_learnt_from_source),
    "not_adapted": ("no adapter is handed on", _not_adapted),
    "not_learnt": ("not learnt", _not_learnt),
    "one_label": ("the only label", _one_label),
    "not_alone": ("not learnt alone", _not_alone),
    "one_class": ("one class only", _one_class),
    "too_few_images": ("too few labelled test images", _too_few_images),
    "not_classes": ("no classes", _not_classes),
}


def _labels(rows: Sequence[Row], word: str = "and") -> str:
    names = [quoted(row["label"]) for row in rows if row["label"]]
    if not names:
        return "any label"
    return f"the label {names[0]}" if len(names) == 1 else f"the labels {some(names, word)}"


def _role(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    """Return the role whose test images score: what is learnt together is held out where it is learnt."""
    learn_from = {task["name"]: task["learn_from"] for task in evaluation["tasks"]}.get(rows[0]["label"])
    return "source" if rows[0]["kind"] == "multi-task" and learn_from == "source" else "target"


def _of_each(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    kinds = {task["name"]: task["kind"] for task in evaluation["tasks"]}
    each = enough(kinds.get(rows[0]["label"]))
    return f", {each}," if each else ""


def _clause(text: str) -> str:
    """Return a clause that was written elsewhere, fit to stand inside a sentence."""
    return clean(text, MOST_OF_A_CLAUSE).rstrip(".")
