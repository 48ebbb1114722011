"""What a kill at a bad moment leaves of DVC's own files, which are not written as a whole, and stops the next run.

All that opens a project calls :func:`heal` first.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import make_lock
from dvc.rwlock import SCHEMA as TABLE_SCHEMA
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import ParseError, load_yaml
from voluptuous import Invalid

from flows.repo.access import TMP, locked_repo, waited_for
from flows.repo.lockfile import BEFORE, LOCK_FILE
from pipeline_lib.core.files import atomic

BROKEN = Path(".graftline/broken")


def heal(folder: Path = Path()) -> list[str]:
    """Mend what a killed program left in the project in ``folder``; return a sentence for each thing that was mended.

    It may be called at any time. Nothing is deleted that cannot be made again: a record that is put back is kept.
    """
    if not (folder / TMP).is_dir():
        return []
    return [*_free_paths(folder / TMP), *_whole_records(folder)]


def working(folder: Path) -> bool:
    """Say whether a DVC works on paths of the project in ``folder``, whose dead ones have been healed."""
    table = folder / TMP / "rwlock"
    return table.exists() and any(json.loads(table.read_text(encoding="utf-8")).values())


def _free_paths(folder: Path) -> Iterator[str]:
    """Take processes that are no more out of DVC's table of the paths that they work on.

    DVC does so for a number that no process has, but not where a killed process was not collected or
    its number was given to another one, as after the restart of a container.
    """
    path, guard = folder / "rwlock", folder / "rwlock.lock"
    if not path.exists():
        return
    with waited_for(lambda: make_lock(str(guard), tmp_dir=str(folder)), guard):
        try:
            table = TABLE_SCHEMA(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, Invalid):
            path.unlink()
            yield "DVC's table of paths in use was cut short, so it was removed"
            return
        found = {
            "read": {name: [user for user in users if _is_dvc(user)] for name, users in table["read"].items()},
            "write": {name: user for name, user in table["write"].items() if _is_dvc(user)},
        }
        found["read"] = {name: users for name, users in found["read"].items() if users}
        if found == table:
            return
        path.write_text(json.dumps(found), encoding="utf-8")
    yield "paths that a killed DVC had in use were set free"


def _is_dvc(user: Mapping[str, Any]) -> bool:
    try:
        process = psutil.Process(user["pid"])
        return process.status() != psutil.STATUS_ZOMBIE and "dvc" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _whole_records(folder: Path) -> Iterator[str]:
    """Put a dvc.lock that was cut short back as it was; one that someone else has written so is theirs to mend."""
    copies = (file.relative_to(folder / BEFORE) for file in sorted((folder / BEFORE).rglob(LOCK_FILE.name)))
    for file in dict.fromkeys([LOCK_FILE, *copies]):
        if _is_cut_short(folder / file):
            with locked_repo(folder):  # DVC, which holds its lock while it writes, may have been about to end
                if _is_cut_short(folder / file):
                    yield _put_back(folder, file)


def _is_cut_short(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        content = load_yaml(str(file))
    except ParseError:
        return b"<<<<<<<" not in file.read_bytes()  # a merge that git left to the user
    try:
        COMPILED_LOCKFILE_SCHEMA(content)
    except Invalid:
        # DVC writes the schema first: another one is that of another DVC.
        return not isinstance(content, Mapping) or content.get("schema", "2.0") in (None, "2.0")
    return False


def _put_back(folder: Path, file: Path) -> str:
    names = (BROKEN / f"{file.as_posix().replace('/', '-')}.{number}" for number in count(1))
    kept = next(name for name in names if not (folder / name).exists())
    (folder / kept).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).replace(folder / kept)
    how, content = _earlier(folder, file)
    if content:
        with atomic(folder / file) as partial:
            partial.write_bytes(content)
    return f"{file} was cut short, so {how}; what was left of it is {kept}"


def _earlier(folder: Path, file: Path) -> tuple[str, bytes]:
    """Return the record as it was last known, and where that is from; DVC's cache knows what has run without it."""
    before = folder / BEFORE / file
    show = ["git", "show", f"HEAD:./{file.as_posix()}"]
    if before.exists():
        how, content = "it was put back as it was before the last run", before.read_bytes()
    else:  # nobody's run of a flow was at work
        how = "it was put back as it was committed"
        content = subprocess.run(show, cwd=folder, capture_output=True, check=False).stdout
    return (how, content) if content else ("a new one is begun from what DVC has in its cache", b"")
