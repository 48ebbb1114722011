"""The device that a stage computes on, and the state of torch's generators."""

import random

import numpy as np
import torch

from pipeline_lib.core.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Return the torch device for ``name``: "auto" (cuda, else mps, else cpu), "cpu", "cuda", "cuda:1", "mps".

    Raises UserError for a device that this machine does not have.
    """
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    found = [kind for kind in ("cuda", "mps", "cpu") if count[kind]]
    if name == "auto":
        return torch.device(found[0])
    kind, _, index = name.partition(":")
    if kind not in found or (index and not (index.isdigit() and int(index) < count[kind])):
        raise UserError(
            f"device in params.yaml is '{name}', which this machine does not have: set it to auto "
            f"or to one of {', '.join(found)}"
        )
    return torch.device(name)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch, and ask torch for deterministic kernels."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator on ``device``, seeded."""
    return torch.Generator(device=device).manual_seed(seed)
