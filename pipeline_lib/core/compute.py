"""The device that a stage computes on, and the state of torch's generators."""

import os
import random

import numpy as np
import torch

from pipeline_lib.core.errors import UserError, shown


def resolve_device(name: str) -> torch.device:
    """Return the torch device for ``name``: "auto" (cuda, else mps, else cpu), "cpu", "cuda", "cuda:1", "mps".

    Raises UserError for a device that this machine does not have.
    """
    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    found = [kind for kind in count if count[kind]]
    if name == "auto":
        return torch.device(found[0])
    if name not in [*found, *(f"{kind}:{index}" for kind in found for index in range(count[kind]))]:
        raise UserError(
            f"device is {shown(name)}, which this machine does not have: set it to auto or to one of {', '.join(found)}"
        )
    # Each process of a distributed training on several GPUs has its own.
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if _shares_gpus(name) else torch.device(name)


def _shares_gpus(name: str) -> bool:
    return name == "cuda" and os.environ.get("LOCAL_RANK", "").isdigit()


def resolve_hardware(device: torch.device, processes: int, batch_size: int, precision: str) -> None:
    """Raise UserError for a number of processes or a precision that ``device`` or the batch does not allow.

    A torch.device of the kind "cuda" is one GPU of this machine; ``processes`` counts those of all nodes.
    """
    if batch_size % processes:
        raise UserError(
            f"batch_size is {batch_size}, which {processes} devices cannot share equally: "
            f"make it a multiple of {processes}"
        )
    if device.type == "mps" and processes > 1:
        raise UserError(f"devices is {processes}, but a Mac has one GPU: set it to 1")
    if precision == "16-mixed" and device.type == "cpu":
        raise UserError("precision is 16-mixed, which needs a GPU: take bf16-mixed or 32-true")
    if device.type == "cuda" and precision == "bf16-mixed" and not torch.cuda.is_bf16_supported():
        raise UserError("precision is bf16-mixed, which this GPU lacks: take 16-mixed or 32-true")


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch, and ask torch for deterministic kernels."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    # cuBLAS reads it when it is first used, and without a workspace of its own for each stream its sums vary.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode also fills every new tensor with NaN, against reading what was never written, which no kernel
    # used here does: a sixth of the time of a step on a CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator on ``device``, seeded."""
    return torch.Generator(device=device).manual_seed(seed)


def memory_of(device: torch.device) -> int:
    """Return the bytes of memory that the device has in all."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_error(error: BaseException) -> bool:
    """Say whether the error is that of a device, or of this machine, that is out of memory."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
