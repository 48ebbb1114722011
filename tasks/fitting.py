"""What the stages that train have in common: the loop with a block's settings."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pandas as pd
import torch
from torch import nn

from pipeline_lib.core.compute import resolve_device
from pipeline_lib.training import Batches, Hardware, fit
from tasks.stage import Stage


class Training(Protocol):
    """What every block of a stage that trains has."""

    @property
    def epochs(self) -> int:
        """Passes over the images."""

    @property
    def batch_size(self) -> int:
        """Images, over all devices."""

    @property
    def weight_decay(self) -> float:
        """Of the optimiser."""


def train(
    stage: Stage,
    block: Training,
    learner: nn.Module,
    columns: Mapping[str, Any],
    *,
    name: str,
    seed: int,
    lr: float,
    weights: torch.Tensor | None = None,
    hardware: Hardware | None = None,
    watch: Callable[[], Mapping[str, float]] | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Train ``learner`` on ``columns`` with the settings of ``block``; see :func:`~pipeline_lib.training.fit`."""
    return fit(
        learner,
        Batches(columns, block.batch_size, seed, weights),
        name=name,
        epochs=block.epochs,
        lr=lr,
        weight_decay=block.weight_decay,
        hardware=hardware or Hardware(resolve_device(stage.params.device)),
        seed=seed,
        checkpoints=stage.checkpoints,
        watch=watch,
        **settings,
    )
