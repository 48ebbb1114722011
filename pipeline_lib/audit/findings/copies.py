"""Findings on images that are in the data more than once."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from scipy.stats import poisson

from pipeline_lib.audit.findings.finding import Finding, Refuse, finding, images, level, limited

# Share of the images that score: what they can flatter a score by at most.
WARN_NEAR = 0.01
# A count is chance if one in a thousand searches without a copy would find as many.
CHANCE = 0.999
GROUP = "leave the copies out, or give them the group of their originals, so that they stay on one side of a split"


def across(audit: Mapping[str, Any], refuse: Refuse) -> Iterator[Finding]:
    """Say which images are in both sets, or nearly."""
    shared = audit["duplicates_across"]
    if count := shared["count"]:
        one, other = shared["examples"][0]
        found = finding(
            "warning",
            "copies",
            f"{images(count, 'target')} also in the source, pixel for pixel (such as {other}, which is {one} there)",
            "scores on them flatter: the answer was seen in training",
            GROUP,
        )
        yield limited(found, count, "duplicates_across", refuse)
    yield from _near(
        audit["near_duplicates_across"], "of the target", "in the source", "near_duplicates_across", refuse
    )


def within(role: str, described: Mapping[str, Any], refuse: Refuse) -> Iterator[Finding]:
    """Say which images a role has more than once, and on which side of its split."""
    if count := described["moved"]:
        training, their = ("1 training image", "its") if count == 1 else (f"{count:,} training images", "their")
        yield finding(
            "info",
            "copies",
            f"{training} of the {role} became test images, because {their} group (or the same file) is in the test "
            "split of another dataset",
            "none: nothing is learnt from what scores",
            "nothing",
        )
    if count := described["duplicates_within"]:
        yield finding(
            "info",
            "copies",
            f"{images(count, role)} equal to an earlier one, pixel for pixel",
            "such an image counts twice, and the set is worth fewer than its size says",
            "leave them out, if they were not meant",
        )
    if count := described["duplicates_across_splits"]:
        yield finding(
            "warning",
            "copies",
            f"{images(count, role)} in the test split and, pixel for pixel, in the train split too",
            "scores on the test split flatter: the answer was seen in training",
            GROUP,
        )
    yield from _near(described["near_leaks"], f"of the {role}'s test split", "in its train split", "near_leaks", refuse)
    near = described["near_duplicates_within"]
    if near["count"]:
        yield finding(
            "info",
            "copies",
            f"{images(near['count'], role)} nearly equal to an earlier one{_expected(near)}",
            "it counts for less than its size says",
            "a group keeps copies on one side of a split",
        )


def _near(near: Mapping[str, Any], whose: str, where: str, knob: str, refuse: Refuse) -> Iterator[Finding]:
    if not near["count"]:
        return
    one, other = near["examples"][0]
    copies = f"1 image {whose} has" if near["count"] == 1 else f"{near['count']:,} images {whose} have"
    by_chance = near["count"] <= poisson.ppf(CHANCE, near["expected_false"])
    found = finding(
        level(near["count"], math.inf if by_chance else WARN_NEAR * near["num_images"]),
        "copies",
        f"{copies} a near duplicate {where} (such as {other}, which is like {one}){_expected(near)}",
        "scores on them flatter, by "
        f"{near['count'] / near['num_images']:.2%} at most where all images count alike"
        f"{'; chance would find as many' if by_chance else ''}",
        GROUP,
    )
    yield limited(found, near["count"], knob, refuse)


def _expected(near: Mapping[str, Any]) -> str:
    low, high = (extreme(near["expected_recall"].values()) for extreme in (min, max))
    return (
        f"; of copies planted among these images {low:.0%} to {high:.0%} are found, by what was changed, and "
        f"{near['expected_false']:.2g} false alarms are expected"
    )
