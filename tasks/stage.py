"""The entry of every stage: fingerprint at the start, edit guard at the end, outputs that appear whole.

dvc.yaml says what a stage depends on and what it leaves; this module holds the stage to it. It does not
import DVC, so that ``python -m tasks.<stage>`` does the same by hand as under ``dvc repro`` or the flow.
"""

import argparse
import ctypes
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import partial_path, publish, remove, sync
from pipeline_lib.core.processes import keep_freed_memory, leads
from tasks.blocks.base import Part
from tasks.declaration import read_declaration
from tasks.foreign import DeviceError, translated
from tasks.hashes import Entry
from tasks.meta import refuse_unmet_before
from tasks.settings import read_settings
from tasks.signature import fingerprint, signature

CHECKPOINTS = Path(".graftline/checkpoints")
BYTES_LEFT = 2**20  # a disk with less than this is full
# With this variable set, whoever set it removes a finished stage's checkpoints, in which is this file, when DVC has
# recorded its outputs: DVC, if killed before, removes the outputs and runs the stage again.
KEEP, FINISHED = "GRAFTLINE_KEEP_CHECKPOINTS", "finished"
# From the process that leads to those that it starts, which need not hash all that it has hashed.
FINGERPRINT = "GRAFTLINE_FINGERPRINT"

P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Stage(Generic[P]):
    """A running stage: what it reads of params.yaml, its identity, where its files go, and the hashes of its inputs."""

    address: str
    params: P
    fingerprint: str
    declared: tuple[Path, ...]
    inputs: Mapping[str, Entry] = field(default_factory=dict)
    _outputs: dict[Path, Path] = field(default_factory=dict)

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints of this very run: same command, parameters and dependencies."""
        return checkpoints_of(self.address) / self.fingerprint

    def output(self, path: str) -> Path:
        """Return where to write the output ``path``; it takes its place when the whole stage succeeded."""
        final = Path(path)
        if final not in self.declared:
            raise ValueError(f"dvc.yaml does not list {path} among the outputs of {self.address}")
        if final not in self._outputs:
            final.parent.mkdir(parents=True, exist_ok=True)
            self._outputs[final] = partial_path(final)
            remove(self._outputs[final])
        return self._outputs[final]

    def publish(self) -> None:
        """Put every output in its place."""
        missing = set(self.declared) - set(self._outputs)
        if missing:
            raise ValueError(f"{self.address} did not write {', '.join(sorted(map(str, missing)))}")
        for partial in self._outputs.values():
            sync(partial)  # all of them first: a disk may turn out to be full only now
        for final, partial in self._outputs.items():
            publish(partial, final)


def main(address: str, body: Callable[[Stage], None], settings: type[Part] | None = None) -> None:
    """Run ``body`` as the stage of dvc.yaml with this address and exit: 0 done, 2 a user's mistake, 1 a crash.

    ``settings`` describes what it reads of params.yaml; without it, that is all.
    """
    _die_with_parent()
    keep_freed_memory()
    guarded(lambda: run(address, body, settings))


def run(address: str, body: Callable[[Stage], None], settings: type[Part] | None = None) -> None:
    """Run ``body`` as the stage with this ``address``, such as "audit" or "pretrain@0".

    Its outputs appear together at the end, and only if no dependency or parameter changed meanwhile: DVC
    hashes dependencies after the command and would record the edit as the input of the old result.
    """
    declaration = read_declaration(address)
    outs = tuple(map(Path, declaration.outs))
    if not leads():  # A further process of a distributed training: the first one answers for the stage.
        told = os.environ.get(FINGERPRINT) or fingerprint(signature(declaration))
        body(Stage(address, _read(settings), told, outs))
        return
    try:
        refuse_unmet_before(address)
        refuse_unwritable(outs)
        before = signature(declaration)
        stage = Stage(address, _read(settings), fingerprint(before), outs, before)
        os.environ[FINGERPRINT] = stage.fingerprint
        body(stage)
        _refuse_edits(address, before, signature(read_declaration(address), before))
        stage.publish()
    except BaseException as error:
        full = isinstance(error, Exception) and _is_disk_full(error)
        for out in outs:
            with suppress(OSError):
                remove(partial_path(out))
        _restore(address, outs)
        if full:
            raise UserError(full_disk(Path.cwd(), address)) from error
        known = None if isinstance(error, UserError) else translated(error, map(Path, declaration.deps))
        if known is not None:
            raise known from error
        raise
    if KEEP in os.environ and stage.checkpoints.exists():
        (stage.checkpoints / FINISHED).touch()
    else:
        shutil.rmtree(stage.checkpoints, ignore_errors=True)


def _read(settings: type[Part] | None) -> Part:
    """Return what a stage reads of params.yaml, once all of it was checked.

    The check only refuses, so no result depends on its code, and it is not imported as what dvc.yaml has to list is.
    """
    whole: Part = importlib.import_module("tasks.params").read_params()
    return whole if settings is None else read_settings(settings)


def full_disk(folder: Path, address: str) -> str:
    """Say that the disk of ``folder`` is too full for a stage."""
    return f"the disk of {folder} is full: free some space and run again, and '{address}' goes on"


def checkpoints_of(address: str) -> Path:
    """Return the folder with a folder of checkpoints for each fingerprint of a stage."""
    return CHECKPOINTS / re.sub(r"[^\w@-]", "_", address)[:100]


def guarded(action: Callable[[], None]) -> None:
    """Run ``action``; end a UserError with one sentence and exit code 2 (``--debug`` adds the traceback).

    So ends what the system or a library raises for the same reason; a device that fails has its sentence and exit
    code 1.
    """
    try:
        action()
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        known = error if isinstance(error, (UserError, DeviceError)) else translated(error)
        if known is None:
            raise
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"error: {known}", file=sys.stderr, flush=True)
        raise SystemExit(1 if isinstance(known, DeviceError) else 2) from None


def arguments(description: str, **places: list[str] | str) -> argparse.Namespace:
    """Parse the command line of a stage: positional arguments, and ``--debug``.

    ``places`` are what is allowed in each place, or a text that says what belongs there.
    """
    parser = argparse.ArgumentParser(description=description)
    for name, place in places.items():
        if isinstance(place, str):
            parser.add_argument(name, help=place)
        else:
            parser.add_argument(name, choices=place)
    parser.add_argument("--debug", action="store_true", help="show the traceback of a user's mistake")
    return parser.parse_args()


def _refuse_edits(address: str, before: Mapping[str, Entry], after: Mapping[str, Entry]) -> None:
    was, now = ({key: digest for key, (_, digest) in inputs.items()} for inputs in (before, after))
    changed = sorted({key for key, _ in was.items() ^ now.items()})
    if changed:
        raise UserError(
            f"{', '.join(changed[:3])}{f' and {len(changed) - 3} more' if len(changed) > 3 else ''} changed "
            f"while '{address}' was running, so its result belongs to neither version: run it again"
        )


def refuse_unwritable(outs: Iterable[Path]) -> None:
    """Raise UserError where an output could not be put into its place at the end, before hours go into it.

    Of a folder that only its owner may change, DVC would remove what is in the outputs, and then fail.
    """
    for out in outs:
        folder = next(above for above in out.parents if above.exists())
        if not folder.is_dir():
            raise UserError(f"{folder} is a file, but the output {out} needs a folder there: move the file away")
        for place in [folder, out] if out.is_dir() and not out.is_symlink() else [folder]:
            if not os.access(place, os.W_OK | os.X_OK):
                where = place if place != Path() else Path.cwd()
                raise UserError(f"the folder {where} cannot be written to, where {out} belongs: make it writable")


def _is_disk_full(error: Exception) -> bool:
    """Say whether ``error`` is for want of space: not every library passes on why it could not write."""
    return "No space left on device" in str(error) or shutil.disk_usage(Path.cwd()).free < BYTES_LEFT


def _restore(address: str, outs: tuple[Path, ...]) -> None:
    """Bring back the last good outputs, which DVC removes before it runs a command."""
    if os.environ.get("DVC_STAGE") and Path("dvc.lock").exists() and not all(path.exists() for path in outs):
        command = [sys.executable, "-m", "flows.repo.restore", address]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _die_with_parent() -> None:
    """Ask Linux to end this process when the one that started it dies, so that no stage is orphaned."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # an exit that cleans up
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 = PR_SET_PDEATHSIG
        if os.getppid() != parent:
            raise SystemExit(1)
