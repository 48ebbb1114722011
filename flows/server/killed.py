"""A run that was killed cannot say so itself: others tell the server that it crashed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Crashed

from flows.server.liveness import PROJECT, SILENCE, SILENT
from flows.server.offline import forget, kept, missing, told
from flows.server.settings import project


@contextmanager
def named(file: TextIO, run_id: UUID) -> Iterator[None]:
    """Let ``file``, which the run holds, name it while it runs, and after it if the server is not there to be told.

    If it names an earlier run, the server is told how that one ended: that it crashed, if nobody knows.
    """
    earlier = _read(file)
    if earlier:
        told(lambda: _tell(UUID(earlier["run"]), earlier["ended"]))
    told(lambda: claim(run_id))
    forget()
    _write(file, {"run": str(run_id), "ended": None})
    try:
        yield
    finally:
        state = kept()
        if state and missing():
            ended = {"type": state.type, "name": state.name, "message": state.message}
            _write(file, {"run": str(run_id), "ended": ended})
        else:
            file.truncate(0)


def claim(run_id: UUID) -> None:
    """Let the run say whose it is, and how long it may be silent: three of its signs of life may be lost."""
    if every := get_current_settings().flows.heartbeat_frequency:
        with get_client(sync_client=True) as client:
            client.update_flow_run_labels(run_id, {PROJECT: project(), SILENCE: 3 * every})


def _read(file: TextIO) -> Mapping[str, Any]:
    file.seek(0)
    with suppress(json.JSONDecodeError):  # empty, or cut short
        return json.load(file)
    return {}


def _write(file: TextIO, content: Mapping[str, Any]) -> None:
    file.truncate(0)
    json.dump(content, file)
    file.flush()


def _tell(run_id: UUID, ended: Mapping[str, Any] | None) -> None:
    """Give a run, and its tasks that were going on, the state in which it ``ended``: Crashed if that is not known."""
    state = State(**ended) if ended else Crashed(message="it was killed")
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(run_id)
        except ObjectNotFound:  # another server's
            return
        if run.state and not (run.state.is_final() and not str(run.state.message).startswith(SILENT)):
            client.set_flow_run_state(run_id, state, force=True)
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        for task in client.read_task_runs(flow_run_filter=chosen):
            if task.state and not task.state.is_final():
                client.set_task_run_state(task.id, state, force=True)
