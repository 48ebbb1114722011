"""Findings on the labels of one set."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline_lib.audit.findings.finding import Finding, Refuse, finding, images, level, limited
from pipeline_lib.labels import KINDS

# Share of labels that are wrong, if it is beyond doubt that any is.
WARN_LABEL_ERRORS = 0.02
WARN_IMBALANCE = 10
EVEN = 2  # up to which imbalance matters to nobody


def labels(role: str, described: Mapping[str, Any], features: str, refuse: Refuse) -> Iterator[Finding]:
    """Say what is missing, skewed or, by the features of that name, wrong."""
    known = {name: label for name, label in described["labels"].items() if label["num_labelled"]}
    if not known:
        lost = (
            "no label can be carried over from it" if role == "source" else "what carries over to it cannot be scored"
        )
        yield finding(
            "warning",
            "labels",
            f"the {role} has no labels, so {lost}",
            "what needs no label is measured all the same",
            "label a few dozen images of each class, of its test split first",
        )
    for name, label in known.items():
        if label["num_missing"]:
            yield finding(
                "info",
                "labels",
                f"{images(label['num_missing'], role)} without the label '{name}'",
                "they are left out where this label is learnt or scores; it misleads if they are not like the rest",
                "nothing, if they are missing at random",
            )
        if "counts" in label:
            yield from _classes(role, name, label, refuse)
    by = "" if features == "pixels" else f" by the features of {features}"
    for name, errors in described["label_errors"].items():
        yield from _errors(role, name, errors, by, refuse)


def _classes(role: str, name: str, label: Mapping[str, Any], refuse: Refuse) -> Iterator[Finding]:
    classes, counts = label["classes"], label["counts"]
    exclusive = KINDS[label["kind"]].has_classes
    if exclusive and len(classes) < 2:
        yield finding(
            "warning",
            "labels",
            f"the label '{name}' of the {role} has only the class '{classes[0]}', and two classes make a task",
            "nothing can be learnt or scored by it here",
            "add images of another class, or leave the label out",
        )
    elif len(classes) > 1 and label["imbalance"] > 1:
        largest, smallest = counts.index(max(counts)), counts.index(min(counts))
        even = label["imbalance"] <= EVEN
        most, least = ("largest class", "smallest") if exclusive else ("most frequent tag", "rarest")
        found = finding(
            level(label["imbalance"], WARN_IMBALANCE),
            "labels",
            f"the {most} '{classes[largest]}' of the label '{name}' has {label['imbalance']:.3g} times as many images "
            f"of the {role} as the {least}, '{classes[smallest]}' ({counts[largest]:,} and {counts[smallest]:,})",
            "hardly any: they are about equally frequent"
            if even
            else "plain accuracy is mostly about the large classes, and rare ones are learnt and measured badly",
            "nothing"
            if even
            else "go by balanced accuracy, as the verdict does; collect images of rare classes, or select balanced"
            + ("; heads.class_balanced lets rare classes count more" if exclusive else ""),
        )
        yield limited(found, label["imbalance"], "imbalance", refuse)


def _errors(role: str, name: str, errors: Mapping[str, Any], by: str, refuse: Refuse) -> Iterator[Finding]:
    if not errors["doubtful"]:
        return
    of = f"of {errors['num_judged']:,} labels '{name}' of the {role}"
    if not errors["count"]:
        lowest = errors["rate_low"]
        sign = f"about {errors['rate']:.1%} seem to be wrong" if lowest else "there is no sign that any is wrong"
        yield finding(
            "info",
            "errors",
            f"{errors['doubtful']:,} {of} contradict the images most like theirs{by}, as images between classes that "
            f"look alike do: {sign}{_power(errors)}",
            "none that is known" if not lowest else "what is wrong is learnt, too, and is scored as if it were right",
            "nothing"
            if not lowest
            else "look at the most doubtful ones: which of them are wrong cannot be told from here",
        )
        return
    worst = errors["worst"][0]
    found = finding(
        level(errors["rate"] if errors["rate_low"] else 0.0, WARN_LABEL_ERRORS),
        "errors",
        f"{errors['count']:,} {of} look wrong beside the images most like theirs{by} ({errors['share']:.1%}), about "
        f"{errors['expected_false']:.0%} of which are expected to be right (look first at {worst['path']}: given "
        f"'{worst['given']}', suggested '{worst['suggested']}'){_found(errors)}",
        "wrong labels are learnt where they are in the train split, and make right answers count as wrong in the test "
        "split" + ("" if errors["rate_low"] else "; there are so few that chance may explain all of them"),
        "look at the pictures below, worst first, and correct what is wrong",
    )
    yield limited(found, errors["share"], "label_errors", refuse)


def _power(errors: Mapping[str, Any]) -> str:
    if errors["noticed_from"] is None:
        return ", but not even one label in five flipped at random would be noticed on these images"
    return f"; {errors['noticed_from']:.0%} of them flipped at random would have been noticed"


def _found(errors: Mapping[str, Any]) -> str:
    return "" if errors["recall"] is None else f"; of labels flipped at random {errors['recall']:.0%} are found"
