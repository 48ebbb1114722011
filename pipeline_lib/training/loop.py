"""Fitting a module with Lightning: schedule, checkpoints, progress, and a halt when the loss is lost."""

import gc
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from pipeline_lib.core.compute import memory_error
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import progress
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.training.batches import LEAST, Batches
from pipeline_lib.training.checkpoints import Checkpoints, latest_whole
from pipeline_lib.training.optimisers import REFERENCE_BATCH, make_optimizer, warmup_cosine
from pipeline_lib.training.watch import Watch


@dataclass(frozen=True)
class Hardware:
    """What a training runs on; the words are those of Lightning's Trainer."""

    device: torch.device
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"


def fit(
    learner: nn.Module,
    batches: Batches,
    *,
    name: str,
    epochs: int,
    lr: float,
    weight_decay: float,
    hardware: Hardware,
    seed: int,
    checkpoints: Path,
    optimizer: str = "adamw",
    watch: Callable[[], Mapping[str, float]] | None = None,
    loggers: Iterable[Logger] = (),
) -> pd.DataFrame:
    """Minimise ``learner(**batch)["loss"]`` over the batches; return one row of means per epoch.

    ``lr`` is for a batch of 256 over all devices and is scaled to ``batches.batch_size`` in proportion. It rises for a
    tenth of the steps and falls to zero along a cosine. ``watch`` is called after every epoch for more columns.
    A learner with a method ``begin_step(progress)`` is told before each step which share of all steps is done. One with
    an attribute ``rates`` says by parameter which share of ``lr`` it has.
    The attribute ``attrs["speed"]`` of the result says how fast this process was.

    Before every step torch's generators are seeded with a function of ``seed`` and the step, so that what a step draws
    does not depend on where the run was interrupted. Checkpoints are kept in ``checkpoints`` after every
    epoch and every ten minutes, and a run that finds one there goes on from it, to the very same weights.

    Raises UserError when the loss is not finite any more (the last good checkpoint stays), when the weights at the
    start are not, when the memory does not suffice, naming a batch that fits, and for several machines of
    which no launcher has told this process.
    """
    _quiet()
    _refuse_nan(learner, name)
    _refuse_waiting(hardware)
    torch.set_float32_matmul_precision("high")
    # Convolutions run faster on channels_last, also on a CPU.
    learner.to(hardware.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Lightning leaves the mode as it finds it, and a learner may keep parts of itself in another one.
    learner.train()
    scaled = lr * batches.batch_size / REFERENCE_BATCH
    rates: Any = getattr(learner, "rates", None)
    make = partial(make_optimizer, optimizer, lr=scaled, weight_decay=weight_decay, rates=rates)
    module = _Module(learner, batches, lambda: make(learner.parameters()))
    module.seed = seed
    on_gpu = hardware.device.type == "cuda"
    with progress(name, epochs) as tracker:
        trainer = Trainer(
            max_epochs=epochs,
            accelerator={"cuda": "gpu"}.get(hardware.device.type, hardware.device.type),
            devices=[hardware.device.index or 0] if on_gpu and hardware.devices == 1 else hardware.devices,
            num_nodes=hardware.num_nodes,
            strategy=hardware.strategy,
            precision=hardware.precision,  # type: ignore[arg-type]
            sync_batchnorm=on_gpu and hardware.devices * hardware.num_nodes > 1,
            logger=list(loggers) or False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[Watch(name, tracker, watch, checkpoints), Checkpoints(checkpoints, name)],
            # Lightning's own sanity work is for validation, of which there is none here.
            num_sanity_val_steps=0,
        )
        try:
            trainer.fit(module, batches, ckpt_path=latest_whole(checkpoints, name), weights_only=True)
        except (RuntimeError, MemoryError) as error:
            if not memory_error(error):
                raise
            # The trainer's frames hold the tensors of the failed step.
            error.__traceback__ = None
            raise UserError(_out_of_memory(name, learner, batches)) from None
    history = pd.DataFrame(module.history)
    history.attrs["speed"] = module.speed
    return history


class _Module(LightningModule):
    """The learner with its optimiser, as Lightning wants it."""

    seed: int

    def __init__(self, learner: nn.Module, batches: Batches, optimizer: Callable[[], torch.optim.Optimizer]) -> None:
        super().__init__()
        self.learner, self.batches, self.optimizer = learner, batches, optimizer
        self.sums: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []
        self.speed: dict[str, float] = {}
        self.first_loss: Tensor | None = None

    @property
    def total_steps(self) -> int:
        return len(self.batches) * int(self.trainer.max_epochs or 1)

    def on_fit_start(self) -> None:
        self.batches.place(self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(derive_seed(self.seed, "step", self.global_step))
        begin_step: Any = getattr(self.learner, "begin_step", None)
        if begin_step:
            begin_step(self.global_step / self.total_steps)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        values: dict[str, Tensor] = self.learner(**batch)
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.detach()
        if self.global_step == 0:
            self.first_loss = values["loss"].detach()
        return values["loss"]

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer()
        return [optimizer], [{"scheduler": warmup_cosine(optimizer, self.total_steps), "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history
        checkpoint["sums"] = self.sums

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]
        self.sums = {name: value.to(self.device) for name, value in checkpoint["sums"].items()}
        self.batches.skip(checkpoint["global_step"] % len(self.batches))


def _refuse_nan(learner: nn.Module, name: str) -> None:
    """Raise UserError where weights are not finite before anything is trained; a mask among the buffers may be -inf."""
    finite = all(bool(weight.isfinite().all()) for weight in learner.parameters())
    if not finite or any(bool(buffer.isnan().any()) for buffer in learner.buffers()):
        raise UserError(f"the weights that {name} starts from hold numbers that are not finite (NaN): choose others")


def _refuse_waiting(hardware: Hardware) -> None:
    """Raise UserError where this process would wait for ever for other machines, which nothing has told it of."""
    told = "SLURM_NODEID" in os.environ or (
        "MASTER_ADDR" in os.environ and any(rank in os.environ for rank in ("NODE_RANK", "GROUP_RANK", "RANK"))
    )
    if hardware.num_nodes > 1 and not told:
        raise UserError(
            f"num_nodes is {hardware.num_nodes}, but nothing says where the other machines are: start the command on "
            "each of them by torchrun or Slurm, or with MASTER_ADDR and NODE_RANK set, or set num_nodes to 1"
        )


def _out_of_memory(name: str, learner: nn.Module, batches: Batches) -> str:
    """Return the sentence that says what batch would fit, found by halving."""
    learner.zero_grad(set_to_none=True)
    rows, size = batches.parts()[0], batches.batch_size
    while size > LEAST:
        size = max(LEAST, size // 2)
        gc.collect()
        torch.cuda.empty_cache()
        try:
            learner(**batches.take(rows[:size]))["loss"].backward()
        except (RuntimeError, MemoryError) as error:
            if not memory_error(error):
                raise
            error.__traceback__ = None
            continue
        finally:
            learner.zero_grad(set_to_none=True)
        return (
            f"the memory of {batches.device} does not hold a batch of {batches.batch_size} of {name}: "
            f"{size} fits, so set batch_size to {size}"
        )
    return (
        f"the memory of {batches.device} does not hold the smallest batch of {name}: choose a smaller encoder or image"
    )


def _quiet() -> None:
    """Silence what Lightning says about choices made on purpose here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
