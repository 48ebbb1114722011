"""A stage as a Prefect task: when it waits, when it is tried again, and the state in which it ends."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Cancelled, Completed, Failed
from prefect.tasks import exponential_backoff

from flows.graph import run_on_gpus
from flows.publish.artifacts import Progress, publish
from flows.repo.plan import PlannedStage
from flows.repo.run import StageResult, run_stage, supervised
from flows.server.offline import told
from pipeline_lib.core.errors import UserError
from tasks.meta import Meta, parse_meta, unmet
from tasks.params import Params

CACHED, RESTORED, REFUSED, BLOCKED, STOPPED = "Cached", "Restored", "Refused", "Blocked", "Stopped"
# Before the first further try; twice as long before each one after it.
RETRY_SECONDS = 5.0


def run_stages(plan: Sequence[PlannedStage], params: Params, pull: bool = False) -> dict[str, State]:
    """Run the stages of ``plan``, in parallel where its graph allows it, and return the state of each by name.

    With ``pull`` a result that DVC's remote has is taken from there. Raises UserError for settings under ``meta`` in
    dvc.yaml that are not allowed.
    """
    metas = {stage.name: parse_meta(stage.name, stage.meta) for stage in plan}
    stages = {stage.name: stage for stage in plan}
    gpus = {stage.name: int(metas[stage.name].gpu) for stage in plan if stage.prediction != "cached"}

    def submit(name: str, above: list[Any], environment: Mapping[str, str]) -> Any:
        running = _run_stage.with_options(name=name, task_run_name=name, **retrying(metas[name].retries))
        given = (stages[name], metas[name], params, pull, environment)
        return running.submit(*given, wait_for=above, return_state=False)

    with supervised():
        return run_on_gpus({stage.name: stage.upstream for stage in plan}, submit, gpus, get_run_logger().info)


def sum_up(states: Mapping[str, State]) -> State:
    """Return the state of the whole run: the first failure in the order of the plan, if there is one."""
    failures = {name: state for name, state in states.items() if state.is_failed() or state.is_crashed()}
    if failures:
        crashes = (state for state in failures.values() if state.name not in (REFUSED, BLOCKED))
        worst = next(crashes, next(iter(failures.values())))
        return Failed(name=worst.name, message=worst.message)
    counts = {kind: sum(state.name == kind for state in states.values()) for kind in ("Completed", RESTORED, CACHED)}
    return Completed(message=", ".join(f"{count} {kind.lower()}" for kind, count in counts.items() if count))


@task(cache_policy=NO_CACHE)
def _run_stage(stage: PlannedStage, meta: Meta, params: Params, pull: bool, environment: Mapping[str, str]) -> State:
    logger = get_run_logger()
    if stage.prediction == "cached":
        done: State = Completed(name=CACHED, message="nothing that it depends on changed")
    else:
        progress = Progress(stage.name, logger.info)
        show = partial(_show, progress)
        result = run_stage(stage.name, logger.info, show, meta.timeout, pull=pull, environment=environment)
        if result.failure == "stopped":
            return Cancelled(name=STOPPED, message=result.error)
        if result.failure:
            return Failed(name=REFUSED if result.failure == "mistake" else None, message=result.error)
        told(progress.finish)
        done = _completed(result)
    _publish(stage, params)
    try:
        failed = unmet(stage.name, meta)
    except UserError as error:
        return Failed(name=REFUSED, message=str(error))
    return Failed(name=BLOCKED, message="; ".join(failed)) if failed else done


def _completed(result: StageResult) -> State:
    if result.state == "executed":
        return Completed(message=f"ran for {result.seconds:.1f} s")
    if result.state == "restored":
        return Completed(name=RESTORED, message="DVC had the result of the very same run in its cache")
    return Completed(name=CACHED, message="what ran before it gave the same results as last time")


def _show(progress: Progress, event: Mapping[str, Any]) -> None:
    told(lambda: progress.show(event))


def _publish(stage: PlannedStage, params: Params) -> None:
    try:
        told(lambda: publish(stage, params))
    except Exception as error:  # the result is there and recorded by DVC: a missing picture of it undoes nothing
        get_run_logger().warning("%s could not be shown in full: %r", stage.name, error)


def retrying(retries: int) -> dict[str, Any]:
    """Return the options of a task that is tried again after a crash, up to ``retries`` times, ever later."""
    return {
        # One more than wanted, so that it is always _may_pass that says when it is enough: Prefect logs an empty
        # traceback when it says so itself.
        "retries": retries + 1,
        "retry_delay_seconds": exponential_backoff(RETRY_SECONDS),
        "retry_condition_fn": _may_pass(retries),
    }


def _may_pass(retries: int) -> Callable[[Any, TaskRun, State], bool]:
    """Return a condition: only a crash may pass when it is tried again, and only ``retries`` times."""

    def condition(task: Any, run: TaskRun, state: State) -> bool:
        return state.name not in (REFUSED, BLOCKED) and run.run_count <= retries

    return condition
