"""dvc.lock, DVC's record of what has run: parallel stages leave it as `dvc repro` would, byte for byte.

There is one beside every dvc.yaml.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dvc.stage import PipelineStage, Stage
from dvc.utils.serialize import load_yaml, modify_yaml

from flows.repo.access import locked_repo
from pipeline_lib.core.files import atomic

LOCK_FILE = Path("dvc.lock")
# Records as they were before the run; they stay until a run has recorded every stage, and are empty if there was none.
BEFORE = Path(".graftline/before")


def record_of(stage: Stage) -> str:
    """Return the file in which DVC records a stage; nothing for what ``dvc add`` or ``dvc import`` tracks."""
    return str(Path(stage.relpath).with_suffix(".lock")) if isinstance(stage, PipelineStage) else ""


def recorded_stages(file: Path = LOCK_FILE) -> list[str]:
    """Return the names of the stages in dvc.lock, or in the copy ``file`` of it, in its order."""
    return list(load_yaml(str(file)).get("stages", {})) if file.exists() and file.stat().st_size else []


def remember(files: Iterable[Path]) -> None:
    """Keep a copy of each record as it is before a run, unless there is still one from before a run that was killed."""
    for file in files:
        if not (BEFORE / file).exists():
            with atomic(BEFORE / file) as partial:
                partial.write_bytes(file.read_bytes() if file.exists() else b"")


def keep_order(records: Mapping[Path, Sequence[str]]) -> None:
    """Put the stages of each record in order: as they were before the run, then the others as planned.

    DVC appends a stage when it first ends. In a parallel run that order is chance, and would differ in git from
    one clone to the next. ``records`` are the planned stages by their file.
    """
    for file, planned in records.items():
        found = recorded_stages(file)
        # The last ones were recorded meanwhile by someone else.
        wanted = [name for name in dict.fromkeys([*recorded_stages(BEFORE / file), *planned, *found]) if name in found]
        if found != wanted:
            with locked_repo(), modify_yaml(str(file)) as lock:
                stages = dict(lock["stages"])
                lock["stages"] = {name: stages[name] for name in wanted}
        if set(planned) <= set(wanted):  # Otherwise the next run records the rest, in this order too.
            forget([file])


def forget(files: Iterable[Path]) -> None:
    """Remove the copies of records of a run that has recorded all that it was to record."""
    for file in files:
        (BEFORE / file).unlink(missing_ok=True)
