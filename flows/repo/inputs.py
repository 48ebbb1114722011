"""What among the dependencies DVC cannot hash, or would wait for without an end."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from dvc.repo import Repo

from pipeline_lib.core.errors import UserError

_KINDS = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISLNK, "a link to nothing"))


def refuse_odd(deps: Iterable[str]) -> None:
    """Raise UserError for a file among the dependencies, or in their folders, that cannot be hashed.

    What .dvcignore names is left alone, as DVC does.
    """
    for path, what in (found for dep in dict.fromkeys(deps) for found in _odd(dep)):
        with Repo() as repo:  # only now: to read a project takes longer than to look through most folders
            if repo.dvcignore.check_ignore(path).match:
                continue
        shown = path.encode("utf-8", "backslashreplace").decode()
        raise UserError(f"{shown} {what}, so DVC cannot track it: remove it, or name it in .dvcignore")


def _odd(path: str) -> Iterator[tuple[str, str]]:
    if os.path.isdir(path):  # noqa: PTH112
        with os.scandir(path) as entries:
            for entry in entries:
                # DVC does not go through links to folders.
                if entry.is_dir(follow_symlinks=False):
                    yield from _odd(entry.path)
                elif not entry.is_file() and not entry.is_dir():
                    yield entry.path, _kind(entry.path)
                elif entry.name.encode(errors="replace") != os.fsencode(entry.name):
                    yield entry.path, "has a name that is not UTF-8"
    elif os.path.lexists(path) and not Path(path).is_file():
        yield path, _kind(path)


def _kind(path: str) -> str:
    mode = Path(path).lstat().st_mode
    return f"is {next((name for is_kind, name in _KINDS if is_kind(mode)), 'no file')}"
