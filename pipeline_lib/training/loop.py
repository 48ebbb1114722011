"""Fitting a module with Lightning: schedule, checkpoints, progress, and a halt when the loss is lost."""

import logging
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import Tracker, progress, say
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.training.batches import Batches

WARMUP_SHARE = 0.1


def fit(
    learner: nn.Module,
    batches: Batches,
    *,
    name: str,
    epochs: int,
    lr: float,
    weight_decay: float,
    device: torch.device,
    seed: int,
    checkpoints: Path,
) -> pd.DataFrame:
    """Minimise ``learner(**batch)["loss"]`` over the batches; return one row of means per epoch.

    AdamW, with the learning rate rising to ``lr`` over the first tenth of the steps and falling to zero along
    a cosine. Before every step torch's generators are seeded with a function of ``seed`` and the step, so that
    what a step draws does not depend on where the run was interrupted. A checkpoint is kept in
    ``checkpoints`` after every epoch, and a run that finds one goes on from it.

    Raises UserError when the loss is not finite any more; the checkpoint of the last good epoch stays.
    """
    _quiet()
    found = checkpoints / f"{name}.ckpt"
    # Convolutions run faster on channels_last, also on a CPU.
    learner.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = _Module(learner, batches, lr, weight_decay, seed)
    with progress(name, epochs * len(batches)) as tracker:
        watch = _Watch(name, batches, tracker, found)
        trainer = Trainer(
            max_epochs=epochs,
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=[device.index or 0] if device.type == "cuda" else 1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[watch, ModelCheckpoint(checkpoints, filename=name, enable_version_counter=False)],
            # Lightning's own sanity work is for validation, of which there is none here.
            num_sanity_val_steps=0,
        )
        if found.exists():
            say(f"{name}: going on from {found}")
        trainer.fit(
            module, train_dataloaders=batches, ckpt_path=str(found) if found.exists() else None, weights_only=True
        )
    return pd.DataFrame(module.history)


class _Module(LightningModule):
    """The learner with its optimiser, as Lightning wants it."""

    def __init__(self, learner: nn.Module, batches: Batches, lr: float, weight_decay: float, seed: int) -> None:
        super().__init__()
        self.learner, self.batches = learner, batches
        self.lr, self.weight_decay, self.seed = lr, weight_decay, seed
        self.sums: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(derive_seed(self.seed, "step", self.global_step))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        values: dict[str, Tensor] = self.learner(**batch)
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.detach()
        return values["loss"]

    def configure_optimizers(self) -> Any:
        trained = [parameter for parameter in self.learner.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.lr, weight_decay=self.weight_decay)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.lr, total_steps=total, pct_start=WARMUP_SHARE, cycle_momentum=False
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]


class _Watch(Callback):
    """Shows progress and stops a run whose loss is lost before its checkpoint replaces the last good one."""

    def __init__(self, name: str, batches: Batches, tracker: Tracker, checkpoint: Path) -> None:
        self.name, self.batches, self.tracker, self.checkpoint = name, batches, tracker, checkpoint

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.tracker.advance(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        last = pl_module.history[-1] if pl_module.history else {}
        self.tracker.advance(1, **{key: value for key, value in last.items() if key != "epoch"})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        means = {name: (total / len(self.batches)).item() for name, total in pl_module.sums.items()}
        pl_module.sums = {}
        epoch = trainer.current_epoch + 1
        if not torch.isfinite(torch.tensor(means["loss"])):
            kept = (
                f"the checkpoint of epoch {epoch - 1} stays in {self.checkpoint}" if epoch > 1 else "nothing was kept"
            )
            raise UserError(
                f"the loss of {self.name} is {means['loss']} in epoch {epoch}: lower its lr in params.yaml ({kept})"
            )
        pl_module.history.append({"epoch": epoch, **means})


def _quiet() -> None:
    """Silence what Lightning says about choices made on purpose here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
