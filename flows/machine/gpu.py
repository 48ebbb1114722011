"""The slots of this machine's GPUs: a stage that needs one waits until a slot is free.

A slot is a lock that the system frees when its holder dies, however that happens, and it counts for every run on
this machine, whichever clone or server it belongs to. GRAFTLINE_GPU_SLOTS says how many there are. With one, the
default, a stage has all GPUs for itself; with more, each slot is one GPU.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from flows.machine.lock import hold
from pipeline_lib.core.errors import UserError

VARIABLE = "GRAFTLINE_GPU_SLOTS"
SECONDS_BETWEEN_TRIES = 0.2


def num_slots() -> int:
    """Return how many stages may use a GPU at a time; UserError where the variable is not a positive number."""
    given = os.environ.get(VARIABLE, "1")
    if not given.isdigit() or int(given) < 1:
        raise UserError(f"{VARIABLE} is '{given}', but must be the number of stages that may use a GPU at a time")
    return int(given)


@contextmanager
def gpu_slot(stopping: Callable[[], bool], on_wait: Callable[[], None]) -> Iterator[dict[str, str]]:
    """Wait for a slot, and yield what the environment of the stage has to say of it.

    ``on_wait`` is called once if none is free. The waiting ends with InterruptedError as soon as ``stopping`` says so.
    """
    folder = Path(tempfile.gettempdir()) / f"graftline-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to someone else: set TMPDIR to a folder of your own")
    count, told = num_slots(), False
    with ExitStack() as held:
        while (taken := _take(held, folder, count)) is None:
            if stopping():
                raise InterruptedError("the run was stopped while it waited for a GPU")
            if not told:
                on_wait()
                told = True
            time.sleep(SECONDS_BETWEEN_TRIES)
        yield _environment(taken) if count > 1 else {}


def _take(held: ExitStack, folder: Path, count: int) -> int | None:
    """Hold the first free slot of ``count``, and return its number."""
    for index in range(count):
        with suppress(UserError):
            held.enter_context(hold(folder / f"gpu-{index}.lock", "taken"))
            return index
    return None


def _environment(index: int) -> dict[str, str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(index + 1)]
    return {"CUDA_VISIBLE_DEVICES": names[index % len(names)]}
