"""What the audit's numbers mean, in plain sentences, and which of them stop the pipeline."""

from collections.abc import Mapping
from typing import Any

from pipeline_lib.audit.findings import copies, labels, quality, shift, skew
from pipeline_lib.audit.findings.finding import LEVELS, Finding, Refuse
from pipeline_lib.core.errors import UserError

__all__ = ["LEVELS", "Finding", "find", "refuse_blocking"]


def find(audit: Mapping[str, Any], refuse: Refuse) -> list[Finding]:
    """Return the findings, the gravest first, each a mapping of text.

    - level: info, warning or blocking
    - about: the part of the audit that it belongs to: shift, copies, labels, errors, quality or sampling
    - sentence: what was found
    - effect: what that does to a result
    - advice: what to do about it

    ``refuse`` gives the values of domain_auc, duplicates_across, near_duplicates_across, near_leaks, label_errors and
    imbalance above which a finding is blocking; None never is. Label errors and imbalance block for the source only:
    the target's labels decide nothing.
    """
    found = [*shift.same(audit), *shift.shift(audit["shift"], refuse), *shift.seen(audit["features"])]
    found += [*copies.across(audit, refuse)]
    for role, described in audit["sets"].items():
        found += [
            *quality.quality(role, described),
            *copies.within(role, described, refuse),
            *labels.labels(role, described, audit["features"]["name"], refuse if role == "source" else {}),
            *skew.by_dataset(role, described["labels_by_dataset"]),
            *quality.groups(role, described),
        ]
    found += [*skew.unknown_classes(audit), *skew.pairs(audit["label_pairs"]), *skew.priors(audit["priors"])]
    return sorted(found, key=lambda finding: LEVELS.index(finding["level"]))


def refuse_blocking(findings: list[Finding]) -> None:
    """Raise a UserError with the first blocking finding."""
    for finding in findings:
        if finding["level"] == "blocking":
            raise UserError(finding["sentence"])
