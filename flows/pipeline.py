"""The flow: every stage of dvc.yaml as a Prefect task, in parallel where the graph allows it."""

import argparse
import gc
import subprocess
from pathlib import Path
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.runtime import deployment, flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed

from flows.machine import child
from flows.machine.lock import hold
from flows.publish.artifacts import publish_plan
from flows.publish.compare import publish_comparison
from flows.publish.name import name_run
from flows.repo.heal import heal
from flows.repo.lockfile import keep_order, remember
from flows.repo.metrics import refuse_unknown
from flows.repo.plan import PlannedStage, describe, read_plan, records
from flows.repo.remote import fetch, push, remote_name
from flows.server.killed import named
from flows.server.offline import is_lost, keep, leave, outcome, told
from flows.server.settings import project
from flows.server.start import api
from flows.stages import BLOCKED, REFUSED, run_stages, sum_up
from pipeline_lib.core.errors import UserError
from tasks.check import checked
from tasks.params import Params
from tasks.stage import guarded

LOCK_FILE = Path(".graftline/flow.lock")
BUSY = "another run of this pipeline is going on here: wait until it ends, or cancel it"


@flow(name="transfer")
def transfer(remote: bool = False, drops: dict[str, float] | None = None) -> State:
    """Bring every stage of dvc.yaml up to date, as ``dvc repro`` does, and publish what the stages produced.

    With ``remote``, results that DVC's default remote has are taken from there, and new ones are sent to it. ``drops``
    are the amounts by which metrics, named as in ``metrics/heads.json:loss``, may be below those of the last run of
    the same deployment; more is an event. Ends Completed, Failed with a sentence on the stage that crashed, Blocked by
    a check, or Refused with what the user has to mend.
    """
    if deployment.get_id():
        child.die_with_parent()  # a worker that is killed leaves no run behind
    try:
        with hold(LOCK_FILE, BUSY) as file, named(file, UUID(flow_run.get_id())):
            for sentence in heal():
                get_run_logger().warning(sentence)
            params, warnings = checked()
            for sentence in warnings:
                get_run_logger().warning(sentence)
            remote = remote and _has_remote()
            notes = [fetch(get_run_logger().info)] if remote else []
            plan = read_plan()
            refuse_unknown(drops or {}, plan)
            told(lambda: _name_run(params))
            state = _run(plan, params, remote)
            notes += [_put_in_order(plan)]
            if state.is_completed():
                notes += told(lambda: _compare(plan, drops or {})) or []
                notes += [push(get_run_logger().info)] if remote else []
            return keep(_with_notes(state, notes))
    except UserError as error:
        return keep(Failed(name=REFUSED, message=str(error)))


def _run(plan: tuple[PlannedStage, ...], params: Params, pull: bool) -> State:
    logger = get_run_logger()
    for line in describe(plan):
        logger.info(line)
    told(lambda: publish_plan(plan))
    remember(records(plan))
    return sum_up(run_stages(plan, params, pull))


def _put_in_order(plan: tuple[PlannedStage, ...]) -> str:
    """Put DVC's record in order; return why not, or nothing."""
    try:
        keep_order(records(plan))
    except UserError as error:
        return f"the stages stand in dvc.lock as they ended: {error}"
    return ""


def _has_remote() -> bool:
    if name := remote_name():
        get_run_logger().info("results are shared through DVC's remote '%s'", name)
        return True
    get_run_logger().warning("DVC has no default remote, so nothing is fetched or pushed: 'dvc remote add -d' sets one")
    return False


def _compare(plan: tuple[PlannedStage, ...], drops: dict[str, float]) -> list[str]:
    """Compare with the last run of the deployment that this is a run of, if it is one of any."""
    if not (name := deployment.get_name()):
        return []
    try:
        return publish_comparison(plan, drops, name, UUID(flow_run.get_id()))
    except Exception as error:  # the run is complete, and its results are worth a push whatever this is
        return [f"its metrics were not compared: {' '.join(str(error).split())}"]


def _with_notes(state: State, notes: list[str]) -> State:
    """Add what did not go as it should, though the run is complete, to the message of its state."""
    for note in filter(None, notes):
        get_run_logger().warning(note)
    return state.model_copy(update={"message": "; ".join(filter(None, [state.message, *notes]))})


def _name_run(params: Params) -> None:
    """Name the run after its datasets and commit."""
    command = ["git", "describe", "--always", "--dirty=+edits", "--exclude=*"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "no commit"
    seeds = [f"seed {seed}" for seed in params.seeds]
    tags = [project(), *params.source, *params.target, params.pretrain.method, *seeds, commit]
    name_run(f"{' and '.join(params.source)} to {' and '.join(params.target)}, {commit}", tags)


def deliver() -> None:
    """Send what is still on its way to the server, which may end with this run."""
    if is_lost():
        return
    EventsWorker.drain_all()
    APILogWorker.drain_all()


def main() -> None:
    """Run the flow once: exit code 0 done, 2 a user's mistake or an unmet check, 1 a crash."""
    try:
        guarded(_run_once)
    except SystemExit as end:
        if is_lost():
            leave(end.code)
        raise
    if is_lost():
        leave(0)


def _run_once() -> None:
    gc.freeze()  # what is imported stays, so that Python need not search it again and again
    parser = argparse.ArgumentParser(description="Run the pipeline once through Prefect.")
    parser.add_argument("--remote", action="store_true", help="share results through DVC's default remote")
    remote = parser.parse_args().remote
    with hold(LOCK_FILE, BUSY):
        checked()  # no server is started for a typo
    with api() as url, temporary_settings({PREFECT_API_URL: url}):
        try:
            state = outcome(lambda: transfer(remote, return_state=True))
        finally:
            deliver()
            gc.freeze()  # Python would search all of it once more at its end
    if state.name in (REFUSED, BLOCKED):
        raise UserError(str(state.message))
    if not state.is_completed():
        raise SystemExit(f"error: {state.message}")


if __name__ == "__main__":
    main()
