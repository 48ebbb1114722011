"""This process: how it keeps memory, its cores, and whether it leads a distributed training.

Without torch, for a quick start.
"""

import ctypes
import os


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next tensor of its size, as PyTorch does on a GPU.

    It would give large pieces back to the system and get them anew, zeroed page by page, in every step, which takes
    longer than most of the arithmetic on them. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # of malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        # Older ones allow no more than 32 MiB.
        mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25)


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leads() -> bool:
    """Say whether this process is the first of its training, which alone writes results; the others only compute.

    Also before the processes have met: by the variables that Lightning, torchrun and Slurm start processes with.
    """
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK"))
