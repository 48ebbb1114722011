"""What the audit's numbers mean, in plain sentences, and which of them stop the pipeline."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from scipy.stats import poisson

from pipeline_lib.core.errors import UserError
from pipeline_lib.labels import KINDS

Finding = dict[str, Any]

# A finding above these is a warning instead of a remark.
WARN_DOMAIN_AUC = 0.8
WARN_LABEL_ERRORS = 0.05
WARN_IMBALANCE = 10
# Share of the images that score: what they can flatter a score by at most.
WARN_NEAR = 0.01
# A count is chance if one in a thousand searches without a copy would find as many.
CHANCE = 0.999


def find(audit: Mapping[str, Any], refuse: Mapping[str, float | None]) -> list[Finding]:
    """Return the findings, each {"level": "info" | "warning" | "blocking", "sentence": str}.

    ``refuse`` gives the values of domain_auc, duplicates_across, near_duplicates_across, near_leaks, label_errors and
    imbalance above which a finding is blocking; None never is. Label errors and imbalance block for the source only:
    the target's labels decide nothing.
    """
    found = [*_same(audit), *_shift(audit["shift"], refuse), *_across(audit["duplicates_across"], refuse)]
    found += _near(audit["near_duplicates_across"], "of the target", "in the source", "near_duplicates_across", refuse)
    for role, described in audit["sets"].items():
        found += [
            *_split(role, described),
            *_quality(role, described),
            *_near(described["near_leaks"], f"of the {role}'s test split", "in its train split", "near_leaks", refuse),
            *_near_within(role, described["near_duplicates_within"]),
            *_labels(role, described, refuse if role == "source" else {}),
        ]
    return [*found, *_unknown_classes(audit["sets"]["source"]["labels"], audit["sets"]["target"]["labels"])]


def refuse_blocking(findings: list[Finding]) -> None:
    """Raise a UserError with the first blocking finding."""
    for finding in findings:
        if finding["level"] == "blocking":
            raise UserError(finding["sentence"])


def _same(audit: Mapping[str, Any]) -> Iterator[Finding]:
    if audit["same_images"]:
        yield _finding(
            "warning",
            "source and target are the same images, so nothing is carried over to another domain: adaptation has "
            "nothing to adapt to, and the verdict only says what more can be learnt from these very images",
        )
    if count := audit["shared"]:
        images, them = ("1 test image", "it") if count == 1 else (f"{count} test images", "them")
        yield _finding(
            "info",
            f"{images} of the target {'is' if count == 1 else 'are'} also in the source, as the same file or as one of "
            f"the same group, so nothing is learnt from {them} there",
        )


def _shift(shift: Mapping[str, float], refuse: Mapping[str, float | None]) -> Iterator[Finding]:
    if math.isnan(shift["domain_auc"]):
        yield _finding(
            "warning", "there are too few images, or groups of them, to measure the shift between source and target"
        )
        return
    yield _limited(
        "a linear classifier tells target from source images by their pixels with an area under the curve of "
        f"{shift['domain_auc']:.3f} (0.5 is no shift, 1 fully apart)",
        shift["domain_auc"],
        WARN_DOMAIN_AUC,
        "domain_auc",
        refuse,
    )
    apart = "tells" if shift["mmd_p_value"] <= 0.05 else "does not tell"
    yield _finding(
        "info",
        f"the maximum mean discrepancy {apart} the two sets apart "
        f"(squared {shift['mmd2']:.3g}, p = {shift['mmd_p_value']:.3g})",
    )


def _across(shared: Mapping[str, Any], refuse: Mapping[str, float | None]) -> Iterator[Finding]:
    if count := shared["count"]:
        one, other = shared["examples"][0]
        yield _limited(
            f"{_images(count, 'target')} also in the source, pixel for pixel (such as {other}, which is {one} "
            "there), so that scores on them flatter",
            count,
            0,
            "duplicates_across",
            refuse,
        )


def _near(
    near: Mapping[str, Any], whose: str, where: str, knob: str, refuse: Mapping[str, float | None]
) -> Iterator[Finding]:
    if not near["count"]:
        return
    one, other = near["examples"][0]
    copies = f"1 image {whose} has" if near["count"] == 1 else f"{near['count']} images {whose} have"
    share = near["count"] / near["num_images"]
    by_chance = near["count"] <= poisson.ppf(CHANCE, near["expected_false"])
    yield _limited(
        f"{copies} a near duplicate {where} (such as {other}, which is like {one}), so that scores on them flatter, by "
        f"{share:.2%} at most where all images count alike: leave the copies out, or give them the group of their "
        f"originals{_expected(near)}",
        near["count"],
        math.inf if by_chance else WARN_NEAR * near["num_images"],
        knob,
        refuse,
    )


def _near_within(role: str, near: Mapping[str, Any]) -> Iterator[Finding]:
    if near["count"]:
        yield _finding(
            "info",
            f"{_images(near['count'], role)} nearly equal to an earlier one, so it counts for less than its size says; "
            f"a group keeps copies on one side of a split{_expected(near)}",
        )


def _expected(near: Mapping[str, Any]) -> str:
    low, high = (extreme(near["expected_recall"].values()) for extreme in (min, max))
    return (
        f" (of copies planted among these images {low:.0%} to {high:.0%} are found, by what was changed; "
        f"{near['expected_false']:.2g} false alarms are expected)"
    )


def _split(role: str, described: Mapping[str, Any]) -> Iterator[Finding]:
    if count := described["moved"]:
        images, their = ("1 training image", "its") if count == 1 else (f"{count} training images", "their")
        yield _finding(
            "info",
            f"{images} of the {role} became test images, because {their} group (or the same file) is in the test split "
            "of another dataset, and nothing is learnt from what scores",
        )


def _quality(role: str, described: Mapping[str, Any]) -> Iterator[Finding]:
    if count := described["quarantined"]:
        files = "1 file" if count == 1 else f"{count} files"
        yield _finding("warning", f"{files} of the {role} could not be decoded and stayed out (card.json lists them)")
    if count := described["blank"]:
        yield _finding("warning", f"{_images(count, role)} blank: a single colour everywhere")
    if count := described["duplicates_within"]:
        yield _finding("info", f"{_images(count, role)} equal to an earlier one, pixel for pixel")
    if count := described["duplicates_across_splits"]:
        yield _finding(
            "warning",
            f"{_images(count, role)} in the test split and, pixel for pixel, in the train split too, "
            "so that scores on the test split flatter",
        )


def _labels(role: str, described: Mapping[str, Any], refuse: Mapping[str, float | None]) -> Iterator[Finding]:
    known = {name: label for name, label in described["labels"].items() if label["num_labelled"]}
    if not known:
        lost = (
            "no label can be carried over from it" if role == "source" else "what carries over to it cannot be scored"
        )
        yield _finding("warning", f"the {role} has no labels, so {lost}")
    for name, label in known.items():
        if label["num_missing"]:
            yield _finding("info", f"{_images(label['num_missing'], role)} without the label '{name}'")
        if "counts" in label:
            yield from _classes(role, name, label, refuse)
    for name, errors in described["label_errors"].items():
        if errors["count"]:
            worst = errors["worst"][0]
            yield _limited(
                f"{errors['count']} of {errors['num_judged']} labels '{name}' of the {role} look wrong beside the "
                f"images most like theirs ({errors['share']:.1%}, false alarms among them; look first at "
                f"{worst['path']}: given '{worst['given']}', suggested '{worst['suggested']}')",
                errors["share"],
                WARN_LABEL_ERRORS,
                "label_errors",
                refuse,
            )


def _classes(role: str, name: str, label: Mapping[str, Any], refuse: Mapping[str, float | None]) -> Iterator[Finding]:
    classes, counts = label["classes"], label["counts"]
    exclusive = KINDS[label["kind"]].has_classes
    if exclusive and len(classes) < 2:
        yield _finding(
            "warning",
            f"the label '{name}' of the {role} has only the class '{classes[0]}', and two classes make a task",
        )
    elif len(classes) > 1 and label["imbalance"] > 1:
        largest, smallest = counts.index(max(counts)), counts.index(min(counts))
        most, least = ("largest class", "smallest") if exclusive else ("most frequent tag", "rarest")
        yield _limited(
            f"the {most} '{classes[largest]}' of the label '{name}' has {label['imbalance']:.3g} times as many images "
            f"of the {role} as the {least}, '{classes[smallest]}' ({counts[largest]} and {counts[smallest]})",
            label["imbalance"],
            WARN_IMBALANCE,
            "imbalance",
            refuse,
        )


def _unknown_classes(source: Mapping[str, Any], target: Mapping[str, Any]) -> Iterator[Finding]:
    for name in sorted(source.keys() & target.keys()):
        known = set(source[name].get("classes", []))
        unknown = [each for each in target[name].get("classes", []) if each not in known]
        if known and unknown:
            yield _finding(
                "warning",
                f"the source lacks classes of the label '{name}' that the target has, so what is learnt from the "
                f"source cannot predict them: {', '.join(unknown[:5])}{' and others' if len(unknown) > 5 else ''}",
            )


def _finding(level: str, sentence: str) -> Finding:
    return {"level": level, "sentence": sentence}


def _limited(sentence: str, value: float, warn_above: float, knob: str, refuse: Mapping[str, float | None]) -> Finding:
    limit = refuse.get(knob)
    if limit is not None and value > limit:
        way_out = f"above audit.refuse.{knob} = {limit:g}: mend the data, raise it or set it to null"
        return _finding("blocking", f"{sentence}, {way_out}")
    return _finding("warning" if value > warn_above else "info", sentence)


def _images(count: int, role: str) -> str:
    return f"1 image of the {role} is" if count == 1 else f"{count} images of the {role} are"
