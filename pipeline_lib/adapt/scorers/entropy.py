"""How sure the predictions are (Morerio 2018, https://arxiv.org/abs/1711.10288)."""

from scipy.stats import entropy as entropy_of

from pipeline_lib.adapt.evidence import Evidence


def entropy(evidence: Evidence) -> float:
    """Return minus the mean entropy of the predictions, in nats; a model that gives all one class is sure too."""
    return -float(entropy_of(evidence.probabilities.clip(1e-12), axis=1).mean())
