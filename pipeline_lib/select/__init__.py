"""Selectors: each chooses and weights source images. A new one is a file and a line here.

A selector takes the features of source and target (float32 ``[N, D]`` and ``[M, D]``), the size asked for and the seed,
and returns a Selection. It gets no labels, so that pretraining stays free of them: those in LABELLED get ``classes_N``
too, the class of each source image, and say so by their name.
"""

from collections.abc import Callable, Mapping

from pipeline_lib.select.class_balanced import class_balanced
from pipeline_lib.select.cluster_balanced import cluster_balanced
from pipeline_lib.select.density_ratio import density_ratio
from pipeline_lib.select.everything import everything
from pipeline_lib.select.importance import importance
from pipeline_lib.select.k_center import k_center
from pipeline_lib.select.nearest import nearest
from pipeline_lib.select.random import random
from pipeline_lib.select.selection import Selection
from pipeline_lib.select.stratified import stratified
from pipeline_lib.select.typicality import typicality

SELECTORS: Mapping[str, Callable[..., Selection]] = {
    "class_balanced": class_balanced,
    "cluster_balanced": cluster_balanced,
    "density_ratio": density_ratio,
    "everything": everything,
    "importance": importance,
    "k_center": k_center,
    "nearest": nearest,
    "random": random,
    "stratified": stratified,
    "typicality": typicality,
}
# Those that choose by the source's labels, and those that look at no image, for which no features are computed.
LABELLED = frozenset({"class_balanced", "stratified"})
BLIND = frozenset({"everything", "random", *LABELLED})

__all__ = ["BLIND", "LABELLED", "SELECTORS", "Selection"]
