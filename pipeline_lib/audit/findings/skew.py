"""Findings on classes and labels that go together, and on classes that differ between the domains."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline_lib.audit.findings.finding import NAMED, Finding, finding, some

# Cramér's V from which on one label nearly tells the other, and by how much it may differ between the domains.
STRONG = 0.6
APART = 0.2
CHANCE = 0.005
# A share is said to differ by as many deviations, and by as much.
DEVIATIONS = 4.0
POINTS = 0.05


def unknown_classes(audit: Mapping[str, Any]) -> Iterator[Finding]:
    """Say which classes the target has and the source lacks."""
    source, target = (audit["sets"][role]["labels"] for role in ("source", "target"))
    for name in sorted(source.keys() & target.keys()):
        known = set(source[name].get("classes", []))
        unknown = [each for each in target[name].get("classes", []) if each not in known]
        if known and unknown:
            yield finding(
                "warning",
                "labels",
                f"the source lacks classes of the label '{name}' that the target has, so what is learnt from the "
                f"source cannot predict them: {some(unknown)}",
                "every image of these classes counts as wrong",
                "add source images of them, or learn the label from the target (learn_from: target)",
            )


def pairs(found: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Say which labels go together, and which do so differently in source and target."""
    for pair in found:
        one, other = pair["labels"]
        source, target = pair["source"], pair["target"]
        if pair["p_value"] is not None and abs(source - target) >= APART and pair["p_value"] <= CHANCE:
            yield finding(
                "warning",
                "labels",
                f"the labels '{one}' and '{other}' go together otherwise in the source than in the target (Cramér's V "
                f"{source:.2f} and {target:.2f}; 0 is unrelated, 1 is that one tells the other)",
                "a model may read one label off the other in the source, which then misleads it in the target",
                "balance the source over both labels together, or learn one of them from the target",
            )
        elif source is not None and source >= STRONG:
            yield finding(
                "info",
                "labels",
                f"the labels '{one}' and '{other}' of the source nearly tell each other (Cramér's V {source:.2f})",
                "what is learnt for one may in truth be the other",
                "add images in which they do not go together, if the target has such",
            )


def by_dataset(role: str, found: Mapping[str, Any]) -> Iterator[Finding]:
    """Say which classes only one dataset of a role has."""
    for name, of in found.items():
        if alone := of["only_in"]:
            listed = ", ".join(f"'{one['class']}' in '{one['dataset']}'" for one in alone[:NAMED])
            more = len(alone) - NAMED
            yield finding(
                "warning",
                "labels",
                f"classes of the label '{name}' are in one dataset of the {role} only: {listed}"
                f"{f' and {more:,} more' if more > 0 else ''}",
                "a model may learn how the dataset looks instead of the class, and fail where they do not go together",
                "add images of these classes from another dataset",
            )


def priors(found: Mapping[str, Mapping[str, Any] | None]) -> Iterator[Finding]:
    """Say which classes seem to be more or less frequent in the target."""
    for name, prior in found.items():
        if prior is None or prior["reason"]:
            continue
        rows = zip(prior["classes"], prior["source"], prior["target"], prior["deviation"], strict=True)
        differ = [
            (one, source, target)
            for one, source, target, deviation in rows
            if abs(target - source) > max(POINTS, DEVIATIONS * deviation)
        ]
        if differ:
            differ.sort(key=lambda row: -abs(row[2] - row[1]))
            listed = ", ".join(
                f"{target:.0%} of '{one}' (source: {source:.0%})" for one, source, target in differ[:NAMED]
            )
            yield finding(
                "info",
                "labels",
                f"by its images alone the target seems to hold {listed}, if nothing but the frequencies of the classes "
                f"of '{name}' differs",
                "a model that was trained at the source's frequencies leans towards its classes",
                "adapters that take the classes for equally frequent may mislead; select a source of these frequencies",
            )
