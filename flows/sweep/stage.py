"""A stage of a combination, wherever it runs: in this clone, or in that of a worker, with DVC's remote between them."""

import base64
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
from dvc.utils.serialize import load_yaml
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed
from voluptuous import Invalid

from flows.machine import child
from flows.machine.gpu import Taken, try_take
from flows.repo.lockfile import LOCK_FILE
from flows.repo.run import StageResult, run_stage, stopping
from flows.stages import CACHED, REFUSED, RESTORED, STOPPED
from flows.sweep.places import place
from pipeline_lib.core.errors import UserError
from tasks.meta import parse_meta

SECONDS_BETWEEN_TRIES = 1.0
PUSH = ("--wait-for-lock", "push", "--quiet", "--run-cache")


@dataclass(frozen=True)
class Work:
    """A stage to run with all that it needs: ``commit``, the text of params.yaml, and what dvc.yaml says of it."""

    stage: str
    commit: str
    params: str
    outs: tuple[str, ...]
    meta: Any


def run_work(
    work: Work, log: Callable[[str], None], environment: Mapping[str, str] | None = None
) -> tuple[State, dict[str, Any]]:
    """Run a stage in a place of this clone; return how it ended and, if it is complete, the record of it.

    The record has what dvc.lock says of the stage under "lock", and what it made that git has, not DVC, under "files".
    ``environment`` is what a sweep of this very clone gives the stage, whose GPUs it has taken. Without it the sweep
    is elsewhere: the stage takes its GPUs itself, and results come from and go to DVC's remote.
    """
    shared = environment is None
    try:
        if shared:
            _fetch_commit(work.commit)
        taken = _take_gpus(work, log) if shared else None
        with taken or nullcontext(), place(work.commit, work.params) as folder:
            result, executed = _run(work, folder, shared, log, taken.environment if taken else environment)
            if result.failure == "stopped":
                return Cancelled(name=STOPPED, message=result.error), {}
            if result.failure:
                return Failed(name=REFUSED if result.failure == "mistake" else None, message=result.error), {}
            if said := run_dvc(folder, *PUSH, work.stage) if shared else "":
                return Failed(message=f"the results of {work.stage} were not pushed to DVC's remote: {said}"), {}
            record = {"lock": _locked(folder, work.stage), "files": dict(_uncached(folder, work.outs))}
    except UserError as error:
        return Failed(name=REFUSED, message=str(error)), {}
    return Completed(name=None if executed else RESTORED if result.state == "restored" else CACHED), record


def _run(
    work: Work, folder: Path, shared: bool, log: Callable[[str], None], environment: Mapping[str, str] | None
) -> tuple[StageResult, bool]:
    """Run the stage; say also whether its own command ran, and not only that of a stage before it."""
    started: list[str] = []

    def on_line(line: str) -> None:
        if line == f"Running stage '{work.stage}':":
            started.append(line)
        log(line)

    result = run_stage(
        work.stage,
        on_line,
        lambda event: None,  # as many stages at a time as a sweep runs would bury each other's progress
        parse_meta(work.stage, work.meta).timeout,
        folder,
        pull=shared,
        environment=environment,
        # What is before it may have run for another combination, or elsewhere: DVC's cache, or its remote, has it.
        with_upstream=True,
    )
    return result, bool(started)


def _take_gpus(work: Work, log: Callable[[str], None]) -> Taken | None:
    count = int(parse_meta(work.stage, work.meta).gpu)
    told = False
    while count and (taken := try_take(count)) is None:
        if stopping():
            raise InterruptedError("the run was stopped while it waited for a GPU")
        if not told:
            log(f"{work.stage} waits for a GPU: all of this machine are taken")
            told = True
        time.sleep(SECONDS_BETWEEN_TRIES)
    return taken if count else None


def _fetch_commit(commit: str) -> None:
    """Bring the commit of a sweep into this clone, if it is not here yet."""
    known = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    if subprocess.run(known, capture_output=True, check=False).returncode == 0:
        return
    subprocess.run(["git", "fetch", "--quiet", "--all"], capture_output=True, check=False)
    if subprocess.run(known, capture_output=True, check=False).returncode:
        raise UserError(
            f"the worker's clone {Path.cwd()} has no commit {commit}, nor has the place that it was cloned from: "
            "'git push' it there"
        )


def _locked(folder: Path, stage: str) -> Any:
    """Return what dvc.lock says of a stage, None where that is nothing, as for one that is frozen."""
    return load_yaml(str(folder / LOCK_FILE)).get("stages", {}).get(stage) if (folder / LOCK_FILE).exists() else None


def _uncached(folder: Path, outs: Sequence[str]) -> list[tuple[str, str]]:
    """Return the outputs that git does not ignore, since DVC does not cache them, in base64."""
    if not outs:
        return []
    command = ["git", "ls-files", "-z", "--modified", "--others", "--exclude-standard", "--", *outs]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.split("\0")
    paths = [path for path in dict.fromkeys(found) if path and (folder / path).is_file()]
    return [(path, base64.b64encode((folder / path).read_bytes()).decode()) for path in paths]


def checked_record(record: Any, work: Work) -> dict[str, Any]:
    """Return the record of a run elsewhere; UserError where it is none, or names files that are not the stage's."""
    try:
        if record["lock"] is not None:
            COMPILED_LOCK_FILE_STAGE_SCHEMA(record["lock"])
        for content in record["files"].values():
            base64.b64decode(content, validate=True)
        paths = [Path(path) for path in record["files"]]
    except (Invalid, LookupError, TypeError, ValueError, AttributeError):
        raise UserError(f"what came back from the run of {work.stage} is no record of a stage") from None
    outs = set(map(Path, work.outs))
    if odd := [path for path in paths if ".." in path.parts or outs.isdisjoint((path, *path.parents))]:
        raise UserError(f"the run of {work.stage} left {odd[0]}, which is not among its outputs")
    return {"lock": record["lock"], "files": record["files"]}


def run_dvc(folder: str | Path, *arguments: str) -> str:
    """Run DVC in ``folder``; return what it said if it failed, and nothing if it did not."""
    process = child.start("dvc", *arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate()
    return " ".join(output.split()) if process.returncode else ""
