"""dvc.lock, DVC's record of what has run: parallel stages leave it as `dvc repro` would, byte for byte."""

from collections.abc import Sequence
from pathlib import Path

from dvc.repo import Repo
from dvc.utils.serialize import load_yaml, modify_yaml

LOCK_FILE = Path("dvc.lock")
# dvc.lock as it was before the run; it stays until a run has recorded every stage, and is empty if there was none.
BEFORE = Path(".graftline/dvc.lock")


def recorded_stages(file: Path = LOCK_FILE) -> list[str]:
    """Return the names of the stages in dvc.lock, or in the copy ``file`` of it, in its order."""
    return list(load_yaml(str(file)).get("stages", {})) if file.exists() else []


def keep_order(before: Sequence[str], planned: Sequence[str]) -> None:
    """Put the stages of dvc.lock in order: those of ``before`` as they were, then the others as ``planned``.

    DVC appends a stage when it first ends. In a parallel run that order is chance, and would differ in git from
    one clone to the next. ``planned`` are the stages of dvc.yaml: what else there is, is never in dvc.lock.
    """
    found = recorded_stages()
    wanted = [name for name in dict.fromkeys([*before, *planned]) if name in found]
    if found != wanted:
        with Repo() as repo, repo.lock, modify_yaml(str(LOCK_FILE)) as lock:
            stages = dict(lock["stages"])
            lock["stages"] = {name: stages[name] for name in wanted}
    if set(planned) <= set(wanted):  # Otherwise the next run records the rest, in this order too.
        BEFORE.unlink(missing_ok=True)
