"""Whether a candidate agrees with all candidates together (EnsV, Hu 2024, https://openreview.net/forum?id=rI7kbFTSpr)."""

from pipeline_lib.adapt.evidence import Evidence


def ensemble(evidence: Evidence) -> float:
    """Return the share of images that get the class that the mean of all candidates' predictions gives them.

    What most candidates get wrong, such as two classes in each other's place, is taken to be right.
    """
    agreed_N = evidence.probabilities.argmax(axis=1) == evidence.ensemble.argmax(axis=1)
    return float(agreed_N.mean())
