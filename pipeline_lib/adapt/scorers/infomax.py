"""How sure the predictions are of each image, and how varied over all of them (Shi 2012, ICML)."""

from scipy.stats import entropy as entropy_of

from pipeline_lib.adapt.evidence import Evidence
from pipeline_lib.adapt.scorers.entropy import entropy


def infomax(evidence: Evidence) -> float:
    """Return the mutual information of images and predicted classes, in nats: 0 or more.

    It is the entropy of the mean prediction less the mean entropy. Adapters that maximise it are judged by what they
    are trained for, and a target with rare classes has less of it than one without.
    """
    return float(entropy_of(evidence.probabilities.mean(axis=0).clip(1e-12))) + entropy(evidence)
