"""Labels of every kind, drawn at random."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import Spec

# The classes that each kind is drawn from.
CLASSES = {
    "multiclass": ["ant", "bee", "cat", "10", "9"],
    "binary": ["no", "yes"],
    "ordinal": ["1", "2", "3", "4"],
    "multilabel": [";", "red", "blue;red", "green", "blue;green;red"],
}


def values_of(kind: str, num: int = 200, seed: int = 0, missing: float = 0.2) -> np.ndarray:
    """Return stored values, of which the share ``missing`` is not labelled."""
    rng = np.random.default_rng(seed)
    if KINDS[kind].stored == "float64":
        values: np.ndarray = rng.normal(3, 2, num)
    else:
        values = rng.choice(np.array(CLASSES[kind], dtype=object), num)
    values[rng.random(num) < missing] = np.nan if KINDS[kind].stored == "float64" else None
    return values


def spec_of(kind: str, values: np.ndarray) -> dict[str, Any]:
    spec = KINDS[kind].describe(values)
    assert spec.pop("problem") is None
    return spec


def perfect_outputs(kind: str, encoded: Tensor, spec: Spec) -> Tensor:
    """Return the outputs of a head that knows everything; for what is missing, those of zero."""
    if kind == "regression":
        return encoded.nan_to_num()[:, None]
    if kind == "multilabel":
        return 20 * encoded.nan_to_num() - 10
    return 20 * torch.nn.functional.one_hot(encoded.clamp(min=0), len(spec["classes"])).float()
