"""A run that was killed cannot say so itself: others tell the server that it crashed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TextIO
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from flows.lost import forget, kept, missing, told

AUTOMATION = "Runs without a heartbeat crashed"
# Three heartbeats, of which there is one every 30 s: flows/__init__.py.
SECONDS = 90
SILENT = f"it was killed, or cut off: nothing was heard of it for {SECONDS} s"


@contextmanager
def named(file: TextIO, run_id: UUID) -> Iterator[None]:
    """Let ``file``, which the run holds, name it while it runs, and after it if the server is not there to be told.

    If it names an earlier run, the server is told how that one ended; nobody knows it of one that was killed. The
    server is also asked to find out by itself about runs on other machines, within 2 minutes.
    """
    file.seek(0)
    earlier = json.loads(file.read() or "{}")
    told(_watch)
    if earlier:
        told(lambda: _tell(UUID(earlier["run"]), earlier["ended"]))
    forget()
    _write(file, {"run": str(run_id), "ended": None})
    try:
        yield
    finally:
        state = kept()
        if state and missing():
            _write(
                file, {"run": str(run_id), "ended": {"type": state.type, "name": state.name, "message": state.message}}
            )
        else:
            file.truncate(0)


def _write(file: TextIO, content: Mapping[str, Any]) -> None:
    file.truncate(0)
    json.dump(content, file)
    file.flush()


def _watch() -> None:
    """Ask the server, once for all, to take a run for crashed of which it no longer hears."""
    trigger = EventTrigger(
        match={"prefect.resource.id": "prefect.flow-run.*"},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        after={"prefect.flow-run.heartbeat"},
        # Any: the event of an end bears the name of the state, such as Refused.
        expect={"prefect.flow-run.*"},
        threshold=1,
        within=timedelta(seconds=SECONDS),
    )
    crash = ChangeFlowRunState(name=None, state=StateType.CRASHED, message=SILENT, force=False)
    with get_client(sync_client=True) as client:
        if not client.read_automations_by_name(AUTOMATION):
            client.create_automation(AutomationCore(name=AUTOMATION, trigger=trigger, actions=[crash]))


def _tell(run_id: UUID, ended: Mapping[str, Any] | None) -> None:
    """Give a run, and its tasks that were going on, the state in which it ``ended``: Crashed if that is not known."""
    state = State(**ended) if ended else Crashed(message="it was killed")
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(run_id)
        except ObjectNotFound:  # another server's
            return
        if run.state and not (run.state.is_final() and run.state.message != SILENT):
            client.set_flow_run_state(run_id, state, force=True)
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        for task in client.read_task_runs(flow_run_filter=chosen):
            if task.state and not task.state.is_final():
                client.set_task_run_state(task.id, state, force=True)
