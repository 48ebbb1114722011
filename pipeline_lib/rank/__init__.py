"""What suits a target, said before any training: distances of source datasets, scores of encoders.

A new one is a file and a line here. A distance takes a source and the target (Domain) and the seed, reads no label, and
is smaller for what is nearer. A score takes labelled images of the target (Examples) and the seed, is larger for what
suits better, and is NaN where the encoder has nothing that it could be computed from.
"""

from collections.abc import Callable, Mapping

from pipeline_lib.rank.distances import frechet, mmd2, proxy_a_distance
from pipeline_lib.rank.h_score import h_score
from pipeline_lib.rank.knn import knn
from pipeline_lib.rank.leep import leep
from pipeline_lib.rank.linear_probe import linear_probe
from pipeline_lib.rank.logme import logme
from pipeline_lib.rank.sets import Domain, Examples
from pipeline_lib.rank.transport import transport

DISTANCES: Mapping[str, Callable[[Domain, Domain, int], float]] = {
    "mmd2": mmd2,
    "proxy_a_distance": proxy_a_distance,
    "frechet_distance": frechet,
    "transport": transport,
}
SCORES: Mapping[str, Callable[[Examples, int], float]] = {
    "logme": logme,
    "h_score": h_score,
    "leep": leep,
    "knn": knn,
    "linear_probe": linear_probe,
}

__all__ = ["DISTANCES", "SCORES", "Domain", "Examples"]
