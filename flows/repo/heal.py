"""What a kill at a bad moment leaves of DVC's own files, which are not written as a whole, and stops the next run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import make_lock
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import ParseError, load_yaml
from voluptuous import Invalid

from flows.repo.lockfile import BEFORE, LOCK_FILE
from pipeline_lib.core.files import atomic

FOLDER = Path(".dvc/tmp")


def mend() -> list[str]:
    """Mend what a killed run left behind in the project, and return a sentence for each thing that was mended.

    Call it only while no other run of the flow is going on here.
    """
    return [*_free_paths(), *_whole_record()]


def _free_paths() -> list[str]:
    """Take processes that are no more out of DVC's table of the paths that they work on.

    DVC does so for a number that no process has, but not where a killed process was not collected or
    its number was given to another one, as after the restart of a container.
    """
    path = FOLDER / "rwlock"
    if not path.exists():
        return []
    with make_lock(str(FOLDER / "rwlock.lock"), tmp_dir=str(FOLDER)):
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            path.unlink()
            return ["DVC's table of paths in use was cut short, so it was removed"]
        found = {
            "read": {name: [user for user in users if _is_dvc(user)] for name, users in table.get("read", {}).items()},
            "write": {name: user for name, user in table.get("write", {}).items() if _is_dvc(user)},
        }
        found["read"] = {name: users for name, users in found["read"].items() if users}
        if all(found[kind] == table.get(kind, {}) for kind in found):
            return []
        path.write_text(json.dumps(found), encoding="utf-8")
    return ["paths that a killed DVC had in use were set free"]


def _is_dvc(user: Mapping[str, Any]) -> bool:
    try:
        process = psutil.Process(user["pid"])
        return process.status() != psutil.STATUS_ZOMBIE and "dvc" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _whole_record() -> list[str]:
    """Put dvc.lock back as it was before a killed run if it was cut short; conflicts are the user's to mend.

    If the last run came to its end, keep a copy of it for that.
    """
    if not BEFORE.exists():
        _copy(LOCK_FILE, BEFORE)
    elif LOCK_FILE.exists() and not _is_whole(LOCK_FILE):
        _copy(BEFORE, LOCK_FILE)
        if not BEFORE.stat().st_size:
            LOCK_FILE.unlink()
        return [f"{LOCK_FILE} was cut short, so it was put back as it was before the last run"]
    return []


def _is_whole(file: Path) -> bool:
    try:
        COMPILED_LOCKFILE_SCHEMA(load_yaml(str(file)))
    except (ParseError, Invalid):
        return "<<<<<<<" in file.read_text(encoding="utf-8", errors="replace")
    return True


def _copy(source: Path, target: Path) -> None:
    """Copy a file, of which nothing is as good as an empty one, so that the copy appears whole."""
    content = source.read_bytes() if source.exists() else b""
    with atomic(target) as partial:
        partial.write_bytes(content)
