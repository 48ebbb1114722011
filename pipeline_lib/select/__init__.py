"""Selectors: each chooses and weights source images. A new one is a file and a line here.

A selector takes the images of source and target (uint8 ``[N, H, W, C]``: Images, of which it holds a batch at a time,
or an array), the size asked for and the seed, and returns a Selection. It gets no labels, so that pretraining stays
free of them.
"""

from collections.abc import Callable, Mapping

from pipeline_lib.select.balanced import balanced
from pipeline_lib.select.everything import everything
from pipeline_lib.select.importance import importance
from pipeline_lib.select.random import random
from pipeline_lib.select.selection import Selection

SELECTORS: Mapping[str, Callable[..., Selection]] = {
    "balanced": balanced,
    "everything": everything,
    "importance": importance,
    "random": random,
}

__all__ = ["SELECTORS", "Selection"]
