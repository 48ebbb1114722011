"""The plan of a run: the stages of dvc.yaml in order, and what will become of each.

``python -m flows.repo.plan`` prints it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.stage import Stage

from flows.repo.inputs import refuse_odd
from pipeline_lib.core.errors import UserError
from tasks.declaration import read_stages
from tasks.foreign import translated
from tasks.stage import guarded, refuse_unwritable
from tasks.yaml_files import DVC_FILE

_FIRST = {"will run": "{} runs first", "restored": "{} is restored first"}


@dataclass(frozen=True)
class PlannedStage:
    """A stage, its place in the graph, and what will become of it.

    ``name`` is its address, such as "pretrain@0". ``own`` is False for what comes before the stages of dvc.yaml and is
    not recorded in dvc.lock, such as a file that ``dvc add`` tracks.
    """

    name: str
    own: bool
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
    DVC has the result. Raises UserError where DVC cannot read the project.
    """
    declared = read_stages()
    refuse_odd(dep for stage in declared.values() for dep in stage.deps)
    refuse_unwritable(Path(out) for stage in declared.values() for out in stage.outs)
    try:
        # One lock for all of it: DVC reads the project anew in every lock.
        with Repo() as repo, lock_repo(repo):
            stages = _ordered(repo)
            status = repo.status()
            changed = [stage for stage, _ in stages if status.get(stage.addressing)]
            kept = {stage.addressing for stage in changed if _in_run_cache(stage)}
    except NotDvcRepoError:
        raise UserError(
            "this folder is not a DVC repository: run from the root of the project, or 'dvc init'"
        ) from None
    except (DvcException, OSError, ValueError) as error:
        said = UserError(f"DVC cannot plan the run: {' '.join(str(error).split())}")
        raise (translated(error) if isinstance(error, OSError) else None) or said from None
    outs = {Path(str(out)) for stage, _ in stages for out in stage.outs}
    made = {*outs, *(folder for out in outs for folder in out.parents)}
    plan: dict[str, PlannedStage] = {}
    for stage, upstream in stages:
        _refuse_missing(stage, outs, made)
        reasons = tuple(_reasons(stage, status.get(stage.addressing, [])))
        before = tuple(_FIRST[plan[name].prediction].format(name) for name in upstream if plan[name].reasons)
        restored = stage.addressing in kept and not before
        reasons = reasons or before
        plan[stage.addressing] = PlannedStage(
            name=stage.addressing,
            own=_is_own(stage),
            command=stage.cmd or "",
            upstream=upstream,
            deps=tuple(map(str, stage.deps)),
            outs=tuple(map(str, stage.outs)),
            metrics=tuple(map(str, stage.metrics)),
            meta=stage.meta or {},
            prediction=("restored" if restored else "will run") if reasons else "cached",
            reasons=reasons,
        )
    return tuple(plan.values())


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
    """Return the stages that ``dvc repro`` goes through, in its order, each with the names of its upstream stages."""
    graph = get_active_graph(repo.index.graph)
    stages = plan_repro(graph, list(filter(_is_own, repo.index.stages)))
    return [(stage, tuple(sorted(above.addressing for above in graph.successors(stage)))) for stage in stages]


def _is_own(stage: Stage) -> bool:
    return bool(stage.relpath == str(DVC_FILE))


def _in_run_cache(stage: Stage) -> bool:
    """Say whether DVC would restore the stage as its dependencies are now."""
    if not all(dep.exists for dep in stage.deps):
        return False
    # What StageCache.restore does after a change; its dry run does not look at the change.
    cache = stage.repo.stage_cache
    try:
        stage.save_deps()
        found = cache._load(stage)
        return bool(found) and bool(cache._create_stage(found, wdir=stage.wdir).outs_cached())
    except DvcException:
        return False


def _refuse_missing(stage: Stage, outs: set[Path], made: set[Path]) -> None:
    """Raise UserError for a dependency that is not there and that no stage makes.

    ``made`` are the outputs of all stages and the folders that they are in.
    """
    on_disk = [str(dep) for dep in stage.deps if dep.protocol == "local" and not stage.frozen]
    for path in map(Path, on_disk):
        if path not in made and outs.isdisjoint(path.parents) and not path.exists():
            raise UserError(
                f"{path} is missing, which {DVC_FILE} lists as a dependency of '{stage.addressing}': "
                f"put it there or name another"
            )


def _reasons(stage: Stage, status: Sequence[str | Mapping[str, Any]]) -> Iterator[str]:
    """Put what ``dvc status`` says of a stage into words."""
    if status and not any(out.hash_info for out in stage.outs):
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
                yield f"{path} {_verb(change)}"
        yield from (f"its output {path} {_verb(change)}" for path, change in entry.get("changed outs", {}).items())


def _verb(change: str) -> str:
    return {"new": "is new", "deleted": "is gone", "not in cache": "is not in DVC's cache"}.get(change, "changed")


if __name__ == "__main__":
    guarded(lambda: print(*describe(read_plan()), sep="\n"))
