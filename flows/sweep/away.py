"""Stages that run in other clones: each is a run of its own in a work pool of Prefect, which any worker may take.

A worker needs the server's address and password, a clone, and DVC's remote, through which results go.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect import flow, get_client, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Cancelling, Failed
from prefect.utilities.callables import parameter_schema

from flows.machine import child
from flows.repo.remote import remote_name
from flows.repo.run import stopping, supervised
from flows.server.killed import claim
from flows.server.offline import told
from flows.server.settings import project
from flows.stages import STOPPED
from flows.sweep.stage import Work, checked_record, run_work
from pipeline_lib.core.errors import UserError

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_UNTIL_TOLD = 60.0  # that nobody has taken a run
MOST_FAILED = 30  # times in a row that the server does not answer
SERVERS_FAULT = 500  # of HTTP's codes the first that is not the fault of the one who asks
MOST_WORKERS_LOST = 3
LABEL = "graftline.sweep"

T = TypeVar("T")


@flow(name="stage")
def stage(stage: str, commit: str, params: str, outs: list[str], meta: dict[str, Any] | None = None) -> State:
    """Run one stage of a combination of a sweep in this clone, and leave a record of it with the run.

    Args:
        stage: the address of the stage
        commit: what to run; it is fetched if this clone does not have it
        params: the text of params.yaml
        outs: what dvc.yaml says that the stage writes
        meta: what dvc.yaml says under meta
    """
    if deployment.get_id():
        child.die_with_parent()  # a worker that is killed leaves no run behind
    told(lambda: claim(UUID(flow_run.get_id())))
    with supervised():
        state, record = run_work(Work(stage, commit, params, tuple(outs), meta), get_run_logger().info)
    if state.is_completed():
        create_markdown_artifact(f"```json\n{json.dumps(record, default=str)}\n```", description=f"{stage} in dvc.lock")
    return state


def deploy(pool: str) -> UUID:
    """Make the deployment by which stages go to a work pool, and return its id; UserError where that cannot be."""
    if remote_name() is None:
        raise UserError("--pool needs a default remote of DVC, through which results go: 'dvc remote add -d' sets one")
    with get_client(sync_client=True) as client:
        try:
            found = client.read_work_pool(pool)
        except ObjectNotFound:
            raise UserError(
                f"Prefect's server has no work pool '{pool}': make it with 'prefect work-pool create {pool} "
                "--type process', and start a worker of it in each clone"
            ) from None
        if found.is_paused:
            raise UserError(f"the work pool '{pool}' is paused: 'prefect work-pool resume {pool}' lets it go on")
        return client.create_deployment(
            flow_id=client.create_flow(stage),
            name=f"{project()}-{pool}",
            description="Runs one stage of a combination of a sweep, which asks for it.",
            entrypoint="flows.sweep.away.stage",
            work_pool_name=pool,
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $GRAFTLINE_CLONE }}"}}],
            parameter_openapi_schema=parameter_schema(stage).model_dump_for_openapi(),
            enforce_parameter_schema=True,
        )


def run_away(
    work: Work, title: str, digest: str, deployment_id: UUID, sweep: str, log: Callable[[str], None]
) -> tuple[State, dict[str, Any]]:
    """Ask for a run of ``work`` and wait until it ends; return what :func:`run_work` returned there.

    A run that is going on already for the same ``digest``, be it of another sweep, is waited for instead. A run whose
    worker was lost is asked for again. ``sweep`` is the id of this sweep's run.
    """
    with get_client(sync_client=True) as client:
        for _ in range(MOST_WORKERS_LOST):
            run = _ask(client, work, title, digest, deployment_id, sweep)
            try:
                state = _wait(client, run, log)
            except BaseException:
                if run.labels.get(LABEL) == sweep:
                    with suppress(httpx.HTTPError):
                        client.set_flow_run_state(run.id, Cancelling(), force=True)
                raise
            if state.is_crashed():
                log(f"{title}: the worker was lost ({state.message}), so it is asked for again")
                continue
            if not state.is_completed():
                return _without_data(state), {}
            return _without_data(state), checked_record(_record(client, run), work)
    return Failed(message=f"{title}: {MOST_WORKERS_LOST} workers in turn were lost with it: {state.message}"), {}


def _ask(client: SyncPrefectClient, work: Work, title: str, digest: str, deployment_id: UUID, sweep: str) -> FlowRun:
    """Create a run, or return the one for the same digest that is going on."""
    parameters = {
        "stage": work.stage, "commit": work.commit, "params": work.params, "outs": list(work.outs), "meta": work.meta
    }  # fmt: skip
    number = 0
    while True:
        run = _patiently(
            partial(
                client.create_flow_run_from_deployment,
                deployment_id,
                parameters=parameters,
                name=title,
                idempotency_key=f"{digest}-{number}",
                labels={LABEL: sweep},
            )
        )
        # The server returns what it has by this key, be it of last week: DVC knows whether its result is still there.
        if run.state is None or not run.state.is_final():
            return run
        number += 1


def _wait(client: SyncPrefectClient, run: FlowRun, log: Callable[[str], None]) -> State:
    began, told = time.monotonic(), False
    while True:
        if stopping():
            raise InterruptedError("the sweep was stopped")
        try:
            state = _patiently(lambda: client.read_flow_run(run.id)).state
        except ObjectNotFound:
            return Cancelled(name=STOPPED, message="someone has deleted its run")
        if state is not None and state.is_final():
            return state
        waits = state is not None and state.is_scheduled() and time.monotonic() - began > SECONDS_UNTIL_TOLD
        if waits and not told:
            log(f"{run.name}: no worker has taken it so far")
            told = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _patiently(ask: Callable[[], T]) -> T:
    """Return what ``ask`` returns; a server that is busy or restarts, as Prefect's client has seen, is asked again."""
    for failed in range(1, MOST_FAILED + 1):
        try:
            return ask()
        except httpx.HTTPError as error:
            refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code < SERVERS_FAULT
            if refused or stopping() or failed == MOST_FAILED:
                raise
            time.sleep(SECONDS_BETWEEN_LOOKS)
    raise AssertionError("the last try returns or raises")


def _without_data(state: State) -> State:
    """Return the state without what only the run itself could read."""
    return State(type=state.type, name=state.name, message=state.message)


def _record(client: SyncPrefectClient, run: FlowRun) -> Any:
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    found = _patiently(lambda: client.read_artifacts(flow_run_filter=chosen))
    texts = [str(artifact.data).removeprefix("```json\n").removesuffix("\n```") for artifact in found]
    with suppress(json.JSONDecodeError):
        return json.loads(texts[0]) if texts else None
    return None
