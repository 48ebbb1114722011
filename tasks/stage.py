"""The entry of every stage: fingerprint at the start, edit guard at the end, outputs that appear whole.

dvc.yaml says what a stage depends on and what it leaves; this module holds the stage to it. It does not
import DVC, so that ``python -m tasks.<stage>`` does the same by hand as under ``dvc repro`` or the flow.
"""

import argparse
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import UserError, nearest
from pipeline_lib.core.files import partial_path, publish, remove
from tasks.meta import DVC_FILE, refuse_unmet_before
from tasks.params import PARAMS_FILE, Params, read_params, read_yaml

CHECKPOINTS = Path(".graftline/checkpoints")
BYTES_LEFT = 2**20  # a disk with less than this is full
# With this variable set, whoever set it removes a finished stage's checkpoints, in which is this file, when DVC has
# recorded its outputs: DVC, if killed before, removes the outputs and runs the stage again.
KEEP, FINISHED = "GRAFTLINE_KEEP_CHECKPOINTS", "finished"
IGNORED = {"__pycache__", ".mypy_cache"}


@dataclass(frozen=True)
class Stage:
    """A running stage: its parameters, its identity, and where its files go."""

    name: str
    params: Params
    fingerprint: str
    declared: tuple[Path, ...]
    _outputs: dict[Path, Path] = field(default_factory=dict)

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints of this very run: same command, parameters and dependencies."""
        return CHECKPOINTS / self.name / self.fingerprint

    def output(self, path: str) -> Path:
        """Return where to write the output ``path``; it takes its place when the whole stage succeeded."""
        final = Path(path)
        if final not in self.declared:
            raise ValueError(f"dvc.yaml does not list {path} among the outputs of {self.name}")
        if final not in self._outputs:
            final.parent.mkdir(parents=True, exist_ok=True)
            self._outputs[final] = partial_path(final)
            remove(self._outputs[final])
        return self._outputs[final]

    def publish(self) -> None:
        """Put every output in its place."""
        missing = set(self.declared) - set(self._outputs)
        if missing:
            raise ValueError(f"{self.name} did not write {', '.join(sorted(map(str, missing)))}")
        for final, partial in self._outputs.items():
            publish(partial, final)


def main(name: str, body: Callable[[Stage], None]) -> None:
    """Run ``body`` as the stage ``name`` of dvc.yaml and exit: 0 done, 2 a user's mistake, 1 a crash."""
    # torch takes seconds to import, which those who import this module only for `guarded` need not wait.
    from pipeline_lib.core.compute import keep_freed_memory

    _die_with_parent()
    keep_freed_memory()
    guarded(lambda: run(name, body))


def run(name: str, body: Callable[[Stage], None]) -> None:
    """Run ``body`` as the stage ``name``.

    Its outputs appear together at the end, and only if no dependency or parameter changed meanwhile: DVC
    hashes dependencies after the command and would record the edit as the input of the old result.
    """
    from pipeline_lib.core.ranks import leads

    declaration = read_declaration(name)
    outs = tuple(map(Path, declaration["outs"]))
    if not leads():  # A further process of a distributed training: the first one answers for the stage.
        body(Stage(name, read_params(), fingerprint(signature(declaration)), outs))
        return
    try:
        refuse_unmet_before(name)
        before = signature(declaration)
        stage = Stage(name, read_params(), fingerprint(before), outs)
        body(stage)
        _refuse_edits(name, before, signature(read_declaration(name), before))
        stage.publish()
    except BaseException as error:
        full = isinstance(error, Exception) and _is_disk_full(error)
        for out in outs:
            remove(partial_path(out))
        _restore(outs)
        if full:
            where = Path.cwd()
            raise UserError(
                f"the disk of {where} is full: free some space and run again, and '{name}' goes on"
            ) from error
        raise
    if KEEP in os.environ and stage.checkpoints.exists():
        (stage.checkpoints / FINISHED).touch()
    else:
        shutil.rmtree(stage.checkpoints, ignore_errors=True)


def guarded(action: Callable[[], None]) -> None:
    """Run ``action``; end a UserError with one sentence and exit code 2 (``--debug`` adds the traceback)."""
    try:
        action()
    except UserError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None


def arguments(description: str, **choices: list[str]) -> argparse.Namespace:
    """Parse the command line of a stage: the given positional choices, and ``--debug``."""
    parser = argparse.ArgumentParser(description=description)
    for name, allowed in choices.items():
        parser.add_argument(name, choices=allowed)
    parser.add_argument("--debug", action="store_true", help="show the traceback of a user's mistake")
    return parser.parse_args()


def read_declaration(name: str) -> dict[str, Any]:
    """Return the command, params, deps and outs that dvc.yaml declares for the stage ``name``."""
    stages = read_yaml(DVC_FILE).get("stages", {})
    if name not in stages:
        raise UserError(f"{DVC_FILE} has no stage '{name}'{nearest(name, stages)}")
    stage = _interpolate(stages[name], read_yaml(PARAMS_FILE))
    outs = [_path_of(out) for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return {
        "cmd": stage["cmd"],
        "params": stage.get("params", []),
        "deps": stage.get("deps", []),
        "outs": outs,
    }


def look_up(key: str, params: Mapping[str, Any]) -> Any:
    """Return the value of a dotted ``key`` of dvc.yaml; DVC would miss it only after the stage has run."""
    value: Any = params
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise UserError(f"{PARAMS_FILE}: the key '{key}' is missing, which {DVC_FILE} uses: add it")
        value = value[part]
    return value


def signature(
    declaration: Mapping[str, Any], known: Mapping[str, tuple[Any, str]] | None = None
) -> dict[str, tuple[Any, str]]:
    """Map each input of a stage to (a cheap stamp, a hash of its content).

    A file whose stamp (size, time, inode) is the one in ``known`` is not read again.
    """
    raw = read_yaml(PARAMS_FILE)
    found: dict[str, tuple[Any, str]] = {"the command": ("", _hash_text(declaration["cmd"]))}
    for key in declaration["params"]:
        found[f"'{key}' in {PARAMS_FILE}"] = (
            "",
            _hash_text(json.dumps(look_up(key, raw), sort_keys=True, default=str)),
        )
    for dependency in declaration["deps"]:
        path = Path(dependency)
        if not path.exists():
            raise UserError(f"{path} is missing, which {DVC_FILE} lists as a dependency: put it there or name another")
        for file in _files(path):
            status = file.stat()
            stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
            old = (known or {}).get(str(file))
            found[str(file)] = old if old and old[0] == stamp else (stamp, _hash_file(file))
    return found


def fingerprint(inputs: Mapping[str, tuple[Any, str]]) -> str:
    """Return 16 hex digits that name a run by the content of all its inputs."""
    return _hash_text(json.dumps({key: digest for key, (_, digest) in inputs.items()}, sort_keys=True))[:16]


def _refuse_edits(name: str, before: Mapping[str, tuple[Any, str]], after: Mapping[str, tuple[Any, str]]) -> None:
    keys = {*before, *after}
    changed = sorted(key for key in keys if before.get(key, ("", ""))[1] != after.get(key, ("", ""))[1])
    if changed:
        raise UserError(
            f"{', '.join(changed[:3])}{f' and {len(changed) - 3} more' if len(changed) > 3 else ''} changed "
            f"while '{name}' was running, so its result belongs to neither version: run it again"
        )


def _is_disk_full(error: Exception) -> bool:
    """Say whether ``error`` is for want of space: not every library passes on why it could not write."""
    return "No space left on device" in str(error) or shutil.disk_usage(Path.cwd()).free < BYTES_LEFT


def _restore(outs: tuple[Path, ...]) -> None:
    """Bring back the last good outputs, which DVC removes before it runs a command."""
    missing = [str(path) for path in outs if not path.exists()]
    if os.environ.get("DVC_STAGE") and missing and Path("dvc.lock").exists():
        # Another stage of the flow may hold DVC's lock for a moment.
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", "checkout", "--quiet", *missing]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _die_with_parent() -> None:
    """Ask Linux to end this process when the one that started it dies, so that no stage is orphaned."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # an exit that cleans up
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 = PR_SET_PDEATHSIG
        if os.getppid() != parent:
            raise SystemExit(1)


def _interpolate(value: Any, params: Mapping[str, Any]) -> Any:
    """Fill in DVC's ``${block.key}`` from params.yaml."""
    if isinstance(value, str):
        return re.sub(r"\$\{([\w.]+)\}", lambda match: str(look_up(match[1], params)), value)
    if isinstance(value, list):
        return [_interpolate(item, params) for item in value]
    if isinstance(value, dict):
        return {key: _interpolate(item, params) for key, item in value.items()}
    return value


def _path_of(out: str | Mapping[str, Any]) -> str:
    return out if isinstance(out, str) else next(iter(out))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(set(folders) - IGNORED)
        yield from (Path(folder) / file for file in sorted(files) if not file.endswith(".pyc"))


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
