"""Scorers: they judge an adapted model without labels of the target. A new one is a file and a line here.

Each takes the :class:`~pipeline_lib.adapt.evidence.Evidence` of a candidate and returns a number, of which more is
better, or NaN where it cannot tell.
"""

from collections.abc import Callable, Mapping

from pipeline_lib.adapt.evidence import Evidence
from pipeline_lib.adapt.scorers.class_ami import class_ami
from pipeline_lib.adapt.scorers.dev import dev
from pipeline_lib.adapt.scorers.ensemble import ensemble
from pipeline_lib.adapt.scorers.entropy import entropy
from pipeline_lib.adapt.scorers.infomax import infomax
from pipeline_lib.adapt.scorers.iwv import iwv
from pipeline_lib.adapt.scorers.mixval import mixval
from pipeline_lib.adapt.scorers.snd import snd

SCORERS: Mapping[str, Callable[[Evidence], float]] = {
    "class_ami": class_ami,
    "dev": dev,
    "ensemble": ensemble,
    "entropy": entropy,
    "infomax": infomax,
    "iwv": iwv,
    "mixval": mixval,
    "snd": snd,
}

# Those that need labelled images of the source on which no candidate was trained.
WITH_SOURCE = frozenset({"dev", "iwv"})

__all__ = ["SCORERS", "WITH_SOURCE"]
