"""Findings on how source and target differ."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline_lib.audit.findings.finding import Finding, Refuse, finding, level, limited

WARN_DOMAIN_AUC = 0.8


def same(audit: Mapping[str, Any]) -> Iterator[Finding]:
    """Say where source and target have images in common by file or group."""
    if audit["same_images"]:
        yield finding(
            "warning",
            "shift",
            "source and target are the same images, so nothing is carried over to another domain",
            "adaptation has nothing to adapt to, and the verdict says what more can be learnt from these very images",
            "name another dataset as the target, unless this is what you want to know",
        )
    if count := audit["shared"]:
        images, them = ("1 test image", "it") if count == 1 else (f"{count:,} test images", "them")
        yield finding(
            "info",
            "copies",
            f"{images} of the target {'is' if count == 1 else 'are'} also in the source, as the same file or as one of "
            "the same group",
            f"none: nothing is learnt from {them} there",
            "nothing, if that is how the sets were meant",
        )


def shift(measured: Mapping[str, float], refuse: Refuse) -> Iterator[Finding]:
    """Say how far apart the domains are."""
    auc = measured["domain_auc"]
    if math.isnan(auc):
        yield finding(
            "warning",
            "shift",
            "there are too few images, or groups of them, to measure the shift between source and target",
            "nobody can say whether what was learnt from the source is about images such as those of the target",
            "add images to the smaller set; ten in each are the least that says anything",
        )
        return
    apart = "tell" if measured["mmd_p_value"] <= 0.05 else "do not tell"
    strong = auc > WARN_DOMAIN_AUC
    found = finding(
        level(auc, WARN_DOMAIN_AUC),
        "shift",
        "a linear classifier tells target from source images by their pixels with an area under the curve of "
        f"{auc:.3f} (0.5 is no shift, 1 fully apart); their means under a kernel {apart} them apart, too "
        f"(p = {measured['mmd_p_value']:.2g})",
        "scores on the source say little about the target: a model may use what only the source has"
        if strong
        else "little: both look alike to a linear classifier of their pixels",
        "bring polarity, size in the frame, background and contrast of both together (content, invert, background and "
        "levels of the datasets), then let an adapter do the rest; the images below show what gives each set away"
        if strong
        else "nothing; what a linear classifier does not see may still differ, so look at the scores on the target",
    )
    yield limited(found, auc, "domain_auc", refuse)


def seen(features: Mapping[str, Any]) -> Iterator[Finding]:
    """Say how far apart the domains are to the encoder that was named, if any was."""
    measured = features["shift"]
    if measured is None or math.isnan(auc := measured["domain_auc"]):
        return
    yield finding(
        "info",
        "shift",
        f"by the features of {features['name']} a linear classifier tells target from source images with an area under "
        f"the curve of {auc:.3f}",
        "a model that starts from this encoder may use what only the source has"
        if auc > WARN_DOMAIN_AUC
        else "little: both look alike to a linear classifier of these features",
        "nothing",
    )
