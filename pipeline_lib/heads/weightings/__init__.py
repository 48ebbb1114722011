"""Ways to make one loss of those of several labels, by name. A new one is a file with a Weighting, and a line here."""

from collections.abc import Callable, Mapping

from pipeline_lib.heads.weightings.equal import Equal
from pipeline_lib.heads.weightings.mgda import MGDA
from pipeline_lib.heads.weightings.pcgrad import PCGrad
from pipeline_lib.heads.weightings.uncertainty import Uncertainty
from pipeline_lib.heads.weightings.upgrad import UPGrad
from pipeline_lib.heads.weightings.weighting import Weighting

# Each is called with the number of labels.
WEIGHTINGS: Mapping[str, Callable[[int], Weighting]] = {
    "equal": Equal,
    "uncertainty": Uncertainty,
    "upgrad": UPGrad,
    "pcgrad": PCGrad,
    "mgda": MGDA,
}

__all__ = ["WEIGHTINGS", "Weighting"]
