"""The flow: every stage of dvc.yaml as a Prefect task, in parallel where the graph allows it."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import allow_failure, flow, get_client, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import State, TaskRun
from prefect.concurrency.sync import concurrency
from prefect.events.worker import EventsWorker
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture, wait
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Completed, Failed
from prefect.utilities.annotations import quote

from flows.lock import hold
from flows.plan import PlannedStage, describe, read_plan
from flows.publish import Progress, publish, publish_plan
from flows.record import keep_order, recorded_stages
from flows.runner import run_stage, supervised
from flows.server import GPU_SLOT, api
from pipeline_lib.core.errors import UserError
from tasks.params import Params, read_params
from tasks.stage import guarded

CACHED, RESTORED, REFUSED, SKIPPED, STOPPED = "Cached", "Restored", "Refused", "Skipped", "Stopped"
LOCK_FILE = Path(".graftline/flow.lock")
BUSY = "another run of this pipeline is going on here: wait until it ends, or cancel it"
RETRY_SECONDS = 2
# The server frees the slot of a flow that was killed after so long.
LEASE_SECONDS = 60


@flow(name="transfer")
def transfer() -> State:
    """Bring every stage of dvc.yaml up to date, as ``dvc repro`` does, and publish what the stages produced.

    Ends Completed, Failed with a sentence on the stage that crashed, or Refused with what the user has to mend.
    """
    try:
        with hold(LOCK_FILE, BUSY):
            params = read_params()
            plan = read_plan()
            _name_run(params)
            return _run(plan, params)
    except UserError as error:
        return Failed(name=REFUSED, message=str(error))


def _run(plan: tuple[PlannedStage, ...], params: Params) -> State:
    logger = get_run_logger()
    for line in describe(plan):
        logger.info(line)
    publish_plan(plan)
    if any(_takes_gpu(stage) and stage.prediction != "cached" for stage in plan):
        _ensure_gpu_slot()
    recorded = recorded_stages()
    futures: dict[str, Any] = {}
    with supervised():
        for stage in plan:
            configured = _run_stage.with_options(
                name=stage.name,
                task_run_name=stage.name,
                # One more than wanted, so that it is always _may_pass that says when it is enough: Prefect
                # logs an empty traceback when it says so itself.
                retries=_retries(stage) + 1,
                retry_delay_seconds=RETRY_SECONDS,
                retry_condition_fn=_may_pass(_retries(stage)),
            )
            above = {name: futures[name] for name in stage.upstream}
            # Quoted and with failures allowed, so that a stage which cannot run says so and ends.
            waiting = list(map(allow_failure, above.values()))
            futures[stage.name] = configured.submit(stage, params, quote(above), wait_for=waiting, return_state=False)
        wait(list(futures.values()))
    keep_order(recorded, list(futures))
    states = {name: future.state for name, future in futures.items()}
    return _sum_up(states)


@task(cache_policy=NO_CACHE)
def _run_stage(stage: PlannedStage, params: Params, above: Mapping[str, PrefectFuture]) -> State:
    logger = get_run_logger()
    missing = [name for name, future in above.items() if not future.state.is_completed()]
    if missing:
        return Cancelled(name=SKIPPED, message=f"it needs {' and '.join(missing)}, which did not complete")
    if stage.prediction == "cached":
        _publish(stage, params)
        return Completed(name=CACHED, message="nothing that it depends on changed")
    progress = Progress(stage.name, logger.info)
    with concurrency(GPU_SLOT, occupy=1, lease_duration=LEASE_SECONDS) if _takes_gpu(stage) else nullcontext():
        result = run_stage(stage.name, logger.info, progress.show)
    if result.failure == "stopped":
        return Cancelled(name=STOPPED, message=result.error)
    if result.failure:
        return Failed(name=REFUSED if result.failure == "mistake" else None, message=result.error)
    progress.finish()
    _publish(stage, params)
    if result.state == "executed":
        return Completed(message=f"ran for {result.seconds:.1f} s")
    if result.state == "restored":
        return Completed(name=RESTORED, message="DVC had the result of the very same run in its cache")
    return Completed(name=CACHED, message="what ran before it gave the same results as last time")


def _publish(stage: PlannedStage, params: Params) -> None:
    try:
        publish(stage, params)
    except Exception as error:  # the result is there and recorded by DVC: a missing picture of it undoes nothing
        get_run_logger().warning("%s could not be shown in full: %r", stage.name, error)


def _sum_up(states: dict[str, State]) -> State:
    """Return the state of the whole run: the first failure in the order of the plan, if there is one."""
    failures = {name: state for name, state in states.items() if state.is_failed() or state.is_crashed()}
    if failures:
        worst = next((state for state in failures.values() if state.name != REFUSED), next(iter(failures.values())))
        return Failed(name=worst.name, message=worst.message)
    counts = {kind: sum(state.name == kind for state in states.values()) for kind in ("Completed", RESTORED, CACHED)}
    return Completed(message=", ".join(f"{count} {kind.lower()}" for kind, count in counts.items() if count))


def _may_pass(retries: int) -> Callable[[Any, TaskRun, State], bool]:
    """Return a condition: only a crash may pass when it is tried again, and only ``retries`` times."""

    def condition(task: Any, run: TaskRun, state: State) -> bool:
        return state.name != REFUSED and run.run_count <= retries

    return condition


def _takes_gpu(stage: PlannedStage) -> bool:
    return bool(stage.meta.get("gpu", False))


def _retries(stage: PlannedStage) -> int:
    return int(stage.meta.get("retries", 0))


def _ensure_gpu_slot() -> None:
    """Make a slot for one stage at a time, unless there is a limit already, perhaps with more slots."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(GPU_SLOT)
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU_SLOT, limit=1))


def _name_run(params: Params) -> None:
    """Give the run a name and tags by which a person finds it again."""
    command = ["git", "describe", "--always", "--dirty=+edits", "--exclude=*"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "no commit"
    name = f"{params.source.reader} to {params.target.reader}, {commit}"
    tags = [params.source.reader, params.target.reader, params.pretrain.method, f"seed {params.seed}", commit]
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.get_id()), name=name, tags=tags)


def deliver() -> None:
    """Send what is still on its way to the server, which may end with this run."""
    EventsWorker.drain_all()
    APILogWorker.drain_all()


def main() -> None:
    """Run the flow once: exit code 0 done, 2 a user's mistake, 1 a crash."""
    with hold(LOCK_FILE, BUSY):
        read_params()  # no server is started for a typo
    with api() as url, temporary_settings({PREFECT_API_URL: url}):
        try:
            state = transfer(return_state=True)
        finally:
            deliver()
    if state.name == REFUSED:
        raise UserError(str(state.message))
    if not state.is_completed():
        raise SystemExit(f"error: {state.message}")


if __name__ == "__main__":
    try:
        guarded(main)
    except KeyboardInterrupt:
        sys.exit(130)
