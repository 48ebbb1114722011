"""Findings on images that are hard to see, and on how a set was drawn."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline_lib.audit.findings.finding import Finding, finding, images, level

WARN_POOR = 0.05
# A set that is worth less than this share of its images.
WARN_EFFECTIVE = 0.1
POOR = {
    "dark": "all but black, unlike the rest of it",
    "bright": "all but white, unlike the rest of it",
    "blurred": "blurred, unlike the rest of it",
    "empty": "all but of one colour, unlike the rest of it",
    "grey": "grey, while the rest of it has colours",
}


def quality(role: str, described: Mapping[str, Any]) -> Iterator[Finding]:
    """Say what cannot be seen, or hardly."""
    if count := described["quarantined"]:
        files = "1 file" if count == 1 else f"{count:,} files"
        yield finding(
            "warning",
            "quality",
            f"{files} of the {role} could not be decoded and stayed out (card.json lists them)",
            "the set is smaller than its folder, which matters if one class is hit more than others",
            "replace the files that are listed with their reasons, or remove them",
        )
    if count := described["blank"]:
        yield finding(
            "warning",
            "quality",
            f"{images(count, role)} blank: a single colour everywhere",
            "their labels cannot be learnt, and answers for them are guesses",
            "look at the files; if they are not blank, mend the framing (levels, background)",
        )
    measured = described["quality"]
    for name, poor in measured["poor"].items():
        if poor["count"]:
            share = poor["count"] / measured["num_judged"]
            yield finding(
                # Grey pictures are as good as others, and often meant to be so.
                level(0.0 if name == "grey" else share, WARN_POOR),
                "quality",
                f"{images(poor['count'], role)} {POOR[name]} ({share:.1%} of those looked at)",
                "such images are learnt badly, and a model may take the look for a class if one class has more of them",
                "look at the pictures; leave out what a person could not label either",
            )
    if count := measured["tiny"]:
        yield finding(
            "info",
            "quality",
            f"{images(count, role)} enlarged to more than twice their size by the framing",
            "enlarged pictures are smooth, which tells domains apart where the other set is not enlarged",
            "a smaller image.size, or content, is quicker and loses nothing",
        )
    if count := measured["odd_aspect"]:
        yield finding(
            "info",
            "quality",
            f"{images(count, role)} more than three times as long as wide, or as wide as long",
            "the frame leaves little room for what they show",
            "crop them, if they are not meant to be so",
        )


def groups(role: str, described: Mapping[str, Any]) -> Iterator[Finding]:
    """Say what the images of a role are worth, if they come in groups."""
    found, total = described["groups"], described["num_images"]
    if not 1 < found["num_groups"] < total or found["effective"] >= total:
        return
    share = found["effective"] / total
    yield finding(
        level(-share, -WARN_EFFECTIVE),
        "sampling",
        f"the {total:,} images of the {role} come in {found['num_groups']:,} groups (the largest has "
        f"{found['largest']:,}) whose images are alike, and are worth about {found['effective']:,} independent ones",
        "intervals count groups and not images, so they are wider than the number of images suggests",
        "images of new groups teach more, and measure more, than more images of these",
    )
