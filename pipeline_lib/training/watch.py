"""Watching a training: progress and speed, a lost loss, and a collapse of the features."""

import math
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightly.utils.debug import std_of_l2_normalized
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import Tracker

# Features whose directions spread by less than this share of a healthy spread are one point for every later use.
COLLAPSED = 0.01
# Of the spread of images that are equal.
ROUNDING = 1e-6


class Watch(Callback):
    """Turns an epoch into a row of the history; stops a run whose loss is lost before that replaces a checkpoint."""

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        watch: Callable[[], Mapping[str, float]] | None,
        checkpoints: Path,
    ) -> None:
        self.name, self.tracker, self.watch, self.checkpoints = name, tracker, watch, checkpoints
        self.rows, self.seconds = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Count what earlier processes did of this run, and start the clock."""
        self.tracker.total = pl_module.total_steps
        self.tracker.advance(trainer.global_step)
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Show progress, with the numbers of the last whole epoch."""
        self.rows += len(next(iter(batch.values()))) * trainer.world_size
        last = pl_module.history[-1] if pl_module.history else {}
        self.tracker.advance(1, **{key: value for key, value in last.items() if key != "epoch"}, **pl_module.speed)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Add the epoch's row; raise UserError where the loss is not finite."""
        means = {name: (total / len(pl_module.batches)).item() for name, total in pl_module.sums.items()}
        pl_module.sums = {}
        epoch = trainer.current_epoch + 1
        if not math.isfinite(means["loss"]):
            kept = f"the last good checkpoint stays in {self.checkpoints}" if epoch > 1 else "nothing was kept"
            raise UserError(
                f"the loss of {self.name} is {means['loss']} {_way_out(pl_module.first_loss, epoch)} ({kept})"
            )
        self.seconds += time.perf_counter() - self.started
        pl_module.speed = {
            "images_per_second": self.rows / self.seconds,
            "data_wait": pl_module.batches.seconds_waited / self.seconds,
            "gigabytes": _peak_memory(pl_module.device) / 1e9,
        }
        row = {"epoch": epoch, **means, **(self.watch() if self.watch else {})}
        pl_module.learner.train()
        pl_module.history.append(row)
        for logger in trainer.loggers:
            logger.log_metrics({**row, **pl_module.speed}, step=trainer.global_step)
        self.started = time.perf_counter()


def _way_out(first_loss: Tensor | None, epoch: int) -> str:
    """Return when the loss was lost, and what to do: what the very first step finds is no fault of the lr."""
    if first_loss is not None and not first_loss.isfinite():
        return "before anything was learnt: look for extreme values among the labels, or set precision to 32-true"
    return f"in epoch {epoch}: lower lr"


@torch.no_grad()
def describe_features(features_ND: Tensor) -> dict[str, float]:
    """Return how much of their space the features fill: ``rank`` and ``feature_std``.

    ``rank`` is the effective rank, between 1 and D: the exponential of the entropy of the singular values (RankMe,
    Garrido 2023, https://arxiv.org/abs/2210.02885). ``feature_std`` is the standard deviation of the features on
    the unit sphere, times sqrt(D): about 1 where they fill it, 0 where they are one point or one alone.
    """
    features = features_ND.double()
    shares = torch.linalg.svdvals(features)
    shares = shares / shares.sum().clamp(min=torch.finfo(torch.float64).tiny)
    entropy = -(shares * shares.clamp(min=torch.finfo(torch.float64).tiny).log()).sum()
    spread = (
        std_of_l2_normalized(features) * math.sqrt(features.shape[1]) if len(features) > 1 else shares.new_zeros(())
    )
    return {"rank": entropy.exp().item(), "feature_std": spread.item()}


def refuse_collapse(found: Mapping[str, float], where: str, images_std: float = 1.0) -> None:
    """Raise UserError when the features that ``describe_features`` was given are all but the same for every image.

    ``images_std`` is the spread of the images themselves, measured as that of the features is: images that are alike
    have features that are alike.
    """
    if not found["feature_std"] + ROUNDING >= COLLAPSED * min(images_std, 1):
        raise UserError(
            f"{where} has collapsed: the features of different images differ by {found['feature_std']:.2g} of a "
            f"healthy spread (effective rank {found['rank']:.1f}); lower lr or choose another method"
        )


def _peak_memory(device: torch.device) -> float:
    """Return the peak memory in bytes: of the GPU, or of this process (Linux counts it in KiB)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
