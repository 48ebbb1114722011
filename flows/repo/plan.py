"""The plan of a run: the stages of dvc.yaml in order, and what will become of each.

``python -m flows.repo.plan`` prints it.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.stage import Stage
from dvc.stage.cache import _can_hash

from flows.repo.access import locked_repo, told_by_dvc
from flows.repo.heal import heal
from flows.repo.inputs import on_disk, refuse_missing, refuse_odd
from flows.repo.lockfile import record_of
from tasks.declaration import read_dvc_file
from tasks.stage import arguments, guarded
from tasks.yaml_files import DVC_FILE, PARAMS_FILE, read_yaml

_FIRST = {"will run": "{} runs first", "restored": "{} is restored first"}


@dataclass(frozen=True)
class PlannedStage:
    """A stage, its place in the graph, and what will become of it.

    ``name`` is its address, such as "pretrain@0", or "sub/dvc.yaml:clean" in a folder of its own. ``record`` is the
    file in which DVC keeps what it ran on, empty for one that is no stage of a dvc.yaml but a file that ``dvc add`` or
    ``dvc import`` tracks. Paths are relative to the root.
    """

    name: str
    record: str
    command: str
    upstream: tuple[str, ...]
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    metrics: tuple[str, ...]
    meta: Mapping[str, Any]
    prediction: Literal["cached", "restored", "will run"]
    reasons: tuple[str, ...]


def read_plan() -> tuple[PlannedStage, ...]:
    """Plan a run of the project in the working directory: what comes first stands first.

    "restored" says that something a stage depends on changed, but DVC has the result of the very same run in its cache.
    "will run" also stands where an earlier stage has to run or to be restored first: only then is known whether
    DVC has the result. Raises UserError where DVC cannot read the project, or a stage could not end well.
    """
    read_dvc_file()  # says better than DVC what is wrong with it
    read_yaml(PARAMS_FILE)
    plan: dict[str, PlannedStage] = {}
    # One lock for all of it: DVC reads the project anew in every lock.
    with told_by_dvc("cannot plan the run"), locked_repo() as repo:
        stages = _ordered(repo)
        refuse_missing(stage for stage, _ in stages)
        refuse_odd(stage for stage, _ in stages)
        for stage, upstream in stages:
            reasons, kept = _reasons(stage)
            before = tuple(_FIRST[plan[name].prediction].format(name) for name in upstream if plan[name].reasons)
            reasons, restored = reasons or before, kept and not before
            plan[stage.addressing] = PlannedStage(
                name=stage.addressing,
                record=record_of(stage),
                command=_command(stage),
                upstream=upstream,
                deps=tuple(map(str, stage.deps)),
                outs=tuple(map(str, stage.outs)),
                metrics=tuple(map(str, stage.metrics)),
                meta=stage.meta or {},
                prediction=("restored" if restored else "will run") if reasons else "cached",
                reasons=reasons,
            )
    return tuple(plan.values())


def records(plan: Sequence[PlannedStage]) -> dict[Path, list[str]]:
    """Return the names of the stages by the file in which DVC records them."""
    found: dict[Path, list[str]] = {}
    for stage in plan:
        if stage.record:
            name = stage.name.removeprefix(f"{Path(stage.record).with_suffix('.yaml')}:")
            found.setdefault(Path(stage.record), []).append(name)
    return found


def describe(plan: Sequence[PlannedStage]) -> list[str]:
    """Return the plan as lines for a person: a count, then one line a stage with its reasons."""
    width = max((len(stage.name) for stage in plan), default=0)
    counts = Counter[str](stage.prediction for stage in plan)
    kinds = ("cached", "restored", "will run")
    parts = [f"{counts[kind]} {kind}" for kind in kinds if counts[kind] or kind != "restored"]
    lines = [f"plan: {len(plan)} stages, {', '.join(parts)}"]
    for stage in plan:
        reasons = f": {', '.join(stage.reasons)}" if stage.reasons else ""
        lines.append(f"  {stage.name:<{width}}  {stage.prediction}{reasons}")
    return lines


def _ordered(repo: Repo) -> list[tuple[Stage, tuple[str, ...]]]:
    """Return the stages that ``dvc repro`` goes through, in its order, each with the names of its upstream stages.

    Those are the stages of dvc.yaml in the root, and what they need of other folders and of ``.dvc`` files.
    """
    graph = get_active_graph(repo.index.graph)
    stages = plan_repro(graph, [stage for stage in repo.index.stages if stage.relpath == str(DVC_FILE)])
    return [(stage, tuple(sorted(above.addressing for above in graph.successors(stage)))) for stage in stages]


def _command(stage: Stage) -> str:
    return "\n".join(stage.cmd) if isinstance(stage.cmd, list) else stage.cmd or ""


def _reasons(stage: Stage) -> tuple[tuple[str, ...], bool]:
    """Say why a stage does not stand as DVC has recorded it, and whether DVC would restore it as it depends now."""
    try:
        status = stage.status().get(stage.addressing, [])
        return tuple(_in_words(stage, status)), bool(status) and _in_run_cache(stage)
    except Exception as error:  # of whatever library the storage takes
        elsewhere = [str(dep) for dep in stage.deps if not on_disk(dep)]
        if not elsewhere:
            raise
        return (f"{' and '.join(elsewhere)} cannot be looked at ({' '.join(str(error).split())})",), False


def _in_run_cache(stage: Stage) -> bool:
    # What StageCache.restore does after a change; its dry run does not look at the change.
    try:
        stage.save_deps()
        if not _can_hash(stage):
            return False
        found = stage.repo.stage_cache._load(stage)
        return bool(found) and bool(stage.repo.stage_cache._create_stage(found, wdir=stage.wdir).outs_cached())
    except (DvcException, OSError):  # such as a dependency that is not there yet
        return False


def _in_words(stage: Stage, status: Sequence[str | Mapping[str, Any]]) -> Iterator[str]:
    """Put what ``dvc status`` says of a stage into words."""
    if status and not any(part.hash_info for part in (*stage.deps, *stage.outs)) and "always changed" not in status:
        yield "it has not run yet"
        return
    for entry in status:
        if isinstance(entry, str):
            yield "it always runs" if entry == "always changed" else "its command changed"
            continue
        for path, change in entry.get("changed deps", {}).items():
            keys = change if isinstance(change, Mapping) else {}
            yield from (f"'{key}' in {path} {_verb(what)}" for key, what in keys.items())
            if not keys:
                away = change == "deleted" and "://" in path
                yield f"{path} {'is gone, or cannot be reached' if away else _verb(change)}"
        yield from (f"its output {path} {_verb(change)}" for path, change in entry.get("changed outs", {}).items())


def _verb(change: str) -> str:
    return {"new": "is new", "deleted": "is gone", "not in cache": "is not in DVC's cache"}.get(change, "changed")


def main() -> None:
    """Print the plan."""
    arguments(__doc__ or "")
    for sentence in heal():
        print(sentence, file=sys.stderr)
    print(*describe(read_plan()), sep="\n")


if __name__ == "__main__":
    guarded(main)
