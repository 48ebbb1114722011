"""The datasets of both roles as params.yaml names them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.data.roles import Role, read_roles
from tasks.blocks.shared import Roles

DATASETS = Path("datasets")
SELECTION = Path("selection/source.parquet")


def read_both(
    params: Roles, labels: Sequence[str] = (), target_labels: Sequence[str] | None = None
) -> tuple[Role, Role]:
    """Read source and target with only the named labels; see :func:`~pipeline_lib.data.roles.read_roles`."""
    return read_roles(DATASETS, params.source, params.target, labels, target_labels)


def selected(source: Role) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the source that the stage select chose (int64, rising) and their weights (float64, mean 1)."""
    chosen = pd.read_parquet(SELECTION).set_index("id")["weight"]
    weights_N = source.table["id"].map(chosen).to_numpy(dtype=np.float64)
    rows = np.flatnonzero(~np.isnan(weights_N))
    return rows, weights_N[rows]


def framing(*roles: Role) -> dict[str, Any]:
    """Return how the images of each dataset were framed, which a model needs to be used on a new file."""
    return {name: {**card["framing"], "size": card["shape"][1]} for role in roles for name, card in role.cards.items()}
