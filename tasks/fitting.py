"""What the stages that train have in common: their seed, the loop with a block's settings, and the framing."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import torch
from torch import nn

from pipeline_lib.core.compute import resolve_device
from pipeline_lib.data.roles import Role
from pipeline_lib.training import Batches, Hardware, fit
from tasks.blocks import Adapt, Heads, Pretrain
from tasks.stage import Stage


def training_argument(description: str | None) -> int:
    """Parse the command line of a stage that trains, and return its seed: one of ``seeds`` in params.yaml."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("training", type=int, help="one of seeds in params.yaml")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a user's mistake")
    return int(parser.parse_args().training)


def train(
    stage: Stage,
    block: Pretrain | Heads | Adapt,
    learner: nn.Module,
    columns: Mapping[str, Any],
    *,
    name: str,
    seed: int,
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
        lr=block.lr,
        weight_decay=block.weight_decay,
        hardware=hardware or Hardware(resolve_device(stage.params.device)),
        seed=seed,
        checkpoints=stage.checkpoints,
        watch=watch,
        **settings,
    )


def framing(*roles: Role) -> dict[str, Any]:
    """Return how the images of each dataset were framed, which a model needs to be used on a new file."""
    return {name: card["framing"] for role in roles for name, card in role.cards.items()}
