"""Checkpoints that survive a kill at any moment: written whole, verified, the last two kept."""

import hashlib
import re
import time
import zipfile
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from pipeline_lib.core.files import partial_path, remove
from pipeline_lib.core.progress import say

KEEP = 2
# Between the ends of epochs, for those that are long.
SECONDS_BETWEEN = 600.0


class Checkpoints(Checkpoint):
    """Saves after every epoch, and within an epoch every SECONDS_BETWEEN, as ``<stem>-<step>.ckpt`` in ``folder``."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Save where an epoch takes long."""
        due = time.monotonic() - self.saved_at >= SECONDS_BETWEEN
        if trainer.world_size > 1:  # Their clocks differ, and all have to save together.
            due = trainer.strategy.broadcast(due)
        if due and not trainer.is_last_batch and bool(pl_module.sums["loss"].isfinite()):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save at the end of an epoch."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        path = self.folder / f"{stem(self.name)}-{trainer.global_step:08d}.ckpt"
        partial = partial_path(path)
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(path)
            for old in found(self.folder, self.name)[KEEP:]:
                remove(old)
        self.saved_at = time.monotonic()


def stem(name: str) -> str:
    """Return what the files of the run ``name`` begin with: safe characters, and a digest, so that no two runs share.

    The name may be a user's: of any length, with dots and slashes.
    """
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def found(folder: Path, name: str) -> list[Path]:
    """Return the checkpoints of the run ``name``, the latest first."""
    return sorted(folder.glob(f"{stem(name)}-{'[0-9]' * 8}.ckpt"), reverse=True)


def latest_whole(folder: Path, name: str) -> Path | None:
    """Return the latest checkpoint that is whole, if any; those that are not are said and passed over."""
    for path in found(folder, name):
        if _is_whole(path):
            say(f"{name}: going on from {path}")
            return path
        say(f"{name}: {path} is damaged, so the one before it is taken")
    return None


def _is_whole(path: Path) -> bool:
    """Check every byte against its checksum, which torch.load does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError):
        return False
