"""The GPUs of this machine: a stage has those that it needs for itself while it runs.

Each has a lock, which the system frees when its holder dies, however that happens. The locks count for every run on
this machine, whichever clone or server it belongs to. An instance of MIG is a GPU of its own.
"""

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Self

from flows.machine.lock import hold
from pipeline_lib.core.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Taken:
    """GPUs, or none, that are held until :meth:`free` or until this process dies."""

    def __init__(self, names: Sequence[str], held: ExitStack) -> None:
        self._names = names
        self._held = held

    @property
    def environment(self) -> dict[str, str]:
        """What the environment of the stage has to say of them."""
        return {VISIBLE: ",".join(self._names)} if self._names else {}

    def free(self) -> None:
        """Let others have them; a second time does nothing."""
        self._held.close()

    def __enter__(self) -> Self:
        """Hold them for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let others have them."""
        self.free()


def gpus() -> tuple[str, ...]:
    """Return the GPUs that stages may use here: those that CUDA_VISIBLE_DEVICES names if it is set, else all."""
    return tuple(_visible())


def try_take(count: int) -> Taken | None:
    """Hold ``count`` GPUs, or return None if not so many are free now.

    Where there are none at all nothing is held: the stage computes on the CPU, or says itself that it cannot.
    Raises UserError where there are some, and never as many as ``count``.
    """
    visible = _visible()
    if not visible:
        return Taken((), ExitStack())
    if count > len(visible):
        place = f"{VISIBLE}={os.environ[VISIBLE]} names" if VISIBLE in os.environ else "this machine has"
        raise UserError(f"meta.gpu in dvc.yaml asks for {count} GPUs, but {place} {len(visible)}: lower it")
    folder = _folder()
    with ExitStack() as held, (folder / "turn.lock").open("w") as turn:
        # One process at a time: two that want both of two GPUs would each get one.
        fcntl.flock(turn, fcntl.LOCK_EX)
        names: list[str] = []
        for name, gpu in visible.items():
            with suppress(UserError):
                held.enter_context(hold(folder / f"{gpu.replace('/', '-')}.lock", "taken"))
                names.append(name)
            if len(names) == count:
                return Taken(names, held.pop_all())
    return None


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"graftline-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to someone else: set TMPDIR to a folder of your own")
    return folder


def _visible() -> dict[str, str]:
    """Return the GPUs that may be used, in the words of CUDA_VISIBLE_DEVICES, each with its only UUID.

    As CUDA does it, the start of a UUID will do, and what comes after a name of no GPU does not count.
    """
    known = _known()
    if VISIBLE not in os.environ:
        return {gpu: gpu for gpu in known.values()}
    found: dict[str, str] = {}
    for name in map(str.strip, os.environ[VISIBLE].split(",")):
        begins = name and not name.isdigit()
        meant = {gpu for other, gpu in known.items() if other == name or (begins and other.startswith(name))}
        if len(meant) != 1 or not meant.isdisjoint(found.values()):
            break
        found[name] = meant.pop()
    return found


def _known() -> dict[str, str]:
    """Return every name of every GPU here, its number and its UUID, with the UUID by which it is locked.

    The driver's own program tells: torch would take seconds to import, and there is a driver on every machine on
    which it finds a GPU of this kind.
    """
    if sys.platform == "darwin":
        return {"mps": "mps"} if platform.machine() == "arm64" else {}
    program = shutil.which("nvidia-smi")
    return _listed(program) if program else {}


@cache
def _listed(program: str) -> dict[str, str]:
    try:
        listing = subprocess.run([program, "-L"], capture_output=True, text=True, check=False, timeout=60).stdout
    except subprocess.TimeoutExpired:
        raise UserError(f"the driver of the GPUs does not answer {program} -L: restart the machine") from None
    known: dict[str, str] = {}
    number = gpu = ""
    for index, uuid in re.findall(r"^(?:GPU (\d+):| +MIG ).*\(UUID: (\S+)\)", listing, re.MULTILINE):
        if index:
            number, gpu = index, uuid
            known |= {number: gpu, gpu: gpu}
        else:
            known[uuid] = uuid
            if known[gpu] == gpu:  # CUDA computes on the first instance if only the GPU is named
                known[number] = known[gpu] = uuid
    return known
