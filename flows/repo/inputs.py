"""What DVC would wait for without an end, or stumble over when a stage has run for hours."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from dvc.dependency import Dependency, ParamsDependency
from dvc.dependency.param import read_param_file
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import Stage

from pipeline_lib.core.errors import UserError
from tasks.stage import refuse_unwritable

_KINDS = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISLNK, "a link to nothing"))


def refuse_odd(stages: Iterable[Stage]) -> None:
    """Raise UserError for a dependency that cannot be hashed, and an output that could not be put into its place."""
    stages = list(stages)
    _refuse_unhashable(str(dep) for stage in stages for dep in stage.deps if on_disk(dep))
    refuse_unwritable(Path(str(out)) for stage in stages for out in stage.outs if on_disk(out))


def refuse_missing(stages: Iterable[Stage]) -> None:
    """Raise UserError for a dependency or a parameter that is not there and that no stage makes."""
    stages = list(stages)
    outs = {Path(str(out)) for stage in stages for out in stage.outs}
    made = {*outs, *(folder for out in outs for folder in out.parents)}
    needed = [(stage, dep) for stage in stages if not stage.frozen for dep in stage.deps if on_disk(dep)]
    keys: dict[Path, dict[str, Stage]] = {}
    for stage, dep in needed:
        path = Path(str(dep))
        if path in made or not outs.isdisjoint(path.parents):
            continue
        if not path.exists():
            raise UserError(
                f"{path} is missing, which {stage.relpath} lists as a dependency of '{stage.addressing}': "
                f"put it there or name another"
            )
        if isinstance(dep, ParamsDependency):
            keys.setdefault(path, {}).update(dict.fromkeys(dep.params, stage))
    for path, wanted in keys.items():
        _refuse_missing_keys(path, wanted)


def on_disk(part: Output) -> bool:
    """Say whether a dependency or an output is a file or a folder here, and not one of a server or another project."""
    return bool(part.protocol == "local") and type(part) in (Dependency, ParamsDependency, Output)


def _refuse_missing_keys(file: Path, wanted: dict[str, Stage]) -> None:
    """Raise UserError for a key that ``file`` does not have: DVC would miss it only after the stage has run."""
    if not wanted:  # all of the file is
        return
    fs = next(iter(wanted.values())).repo.fs
    found = read_param_file(fs, str(file), list(wanted), flatten=True)
    for key, stage in wanted.items():
        if key not in found:
            raise UserError(f"{file}: the key '{key}' is missing, which {stage.relpath} lists under params: add it")


def _refuse_unhashable(deps: Iterable[str]) -> None:
    """Raise UserError for a file among the dependencies, or in their folders, that cannot be hashed.

    What .dvcignore names is left alone, as DVC does.
    """
    for path, what in (found for dep in dict.fromkeys(deps) for found in _odd(dep)):
        with Repo() as repo:  # only now: to read its rules takes longer than to look through most folders
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
