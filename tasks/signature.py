"""What a stage's result is a function of: its command, its parameters and the content of its dependencies."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json, write_json
from tasks.declaration import Declaration, look_up
from tasks.yaml_files import DVC_FILE, PARAMS_FILE, read_yaml

IGNORED = {"__pycache__", ".mypy_cache"}
# The hashes of large files by their stamps, so that one that no stage touched is read once and not by every stage.
TABLE = Path(".graftline/hashes.json")
LARGE = 2**20  # bytes

Signature = dict[str, tuple[Any, str]]


def signature(declaration: Declaration, known: Mapping[str, tuple[Any, str]] | None = None) -> Signature:
    """Map each input of a stage to (a cheap stamp, a hash of its content).

    A file whose stamp (size, times, inode) is the one in ``known`` is not read again, nor is a large one that another
    stage has read.
    """
    raw, table = read_yaml(PARAMS_FILE), _read_table()
    found: Signature = {"the command": ("", _hash_text(declaration.cmd))}
    for key in declaration.params:
        found[f"'{key}' in {PARAMS_FILE}"] = ("", _hash_text(json.dumps(_sorted(look_up(key, raw)))))
    for path in (*declaration.deps, *declaration.params_files):
        if "://" in path:  # DVC looks at what is not on this disk
            continue
        if not Path(path).exists():
            raise UserError(f"{path} is missing, which {DVC_FILE} lists as a dependency: put it there or name another")
        for file in _files(path):
            status = _status(file)
            stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            for old in ((known or {}).get(file), table.get(file)):
                if old and old[0] == stamp:
                    found[file] = (stamp, old[1])
                    break
            else:
                found[file] = (stamp, _hash_file(file, status.st_mode))
    large = {file: list(entry) for file, entry in found.items() if entry[0] and entry[0][0] >= LARGE}
    if any(table.get(file) != entry for file, entry in large.items()):
        _write_table({**table, **large})
    return found


def fingerprint(inputs: Mapping[str, tuple[Any, str]]) -> str:
    """Return 16 hex digits that name a run by the content of all its inputs."""
    return _hash_text(json.dumps({key: digest for key, (_, digest) in inputs.items()}, sort_keys=True))[:16]


def _sorted(value: Any) -> Any:
    """Return a value that is the same whatever the order of its keys, and that JSON can hold whatever they are."""
    if isinstance(value, Mapping):
        return sorted([repr(key), _sorted(item)] for key, item in value.items())
    return [_sorted(item) for item in value] if isinstance(value, list) else repr(value)


def _files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):  # noqa: PTH112 - a Path a file would take longer than all else
        yield os.path.normpath(path)
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(set(folders) - IGNORED)
        yield from (os.path.join(folder, file) for file in sorted(files) if not file.endswith(".pyc"))  # noqa: PTH118


def _status(file: str) -> os.stat_result:
    try:
        return os.stat(file)  # noqa: PTH116
    except OSError:  # a link to nothing
        return os.lstat(file)


def _read_table() -> dict[str, Any]:
    with suppress(OSError, ValueError):  # there is none yet, or it is damaged
        table = read_json(TABLE)
        return table if isinstance(table, dict) else {}
    return {}


def _write_table(table: Mapping[str, Any]) -> None:
    # Stages that run side by side each write their own, and the last one stays.
    partial = TABLE.with_name(f".{os.getpid()}.hashes.partial")
    with suppress(OSError):  # as on a full disk: it saves time and no more
        write_json(partial, {file: entry for file, entry in table.items() if Path(file).exists()})
        partial.replace(TABLE)


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _hash_file(file: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return _hash_text(os.readlink(file))  # noqa: PTH115
    if not stat.S_ISREG(mode):  # a pipe or a socket would be waited for without an end
        return _hash_text("no file")
    with open(file, "rb") as opened:  # noqa: PTH123
        return hashlib.file_digest(opened, "sha256").hexdigest()
