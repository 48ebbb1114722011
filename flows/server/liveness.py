"""Show runs of this project that were killed as Crashed, until this ends: ``python -m flows.server.liveness``.

It watches the server that PREFECT_API_URL names, on which other projects may run too.

A run gives a sign of life every 30 s (flows/server/settings.py). Prefect's own way is an automation on its absence, for
which a server on SQLite locks itself out at the end of most runs, at times for a minute.
"""

import os
import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from flows.server.settings import auth, project
from pipeline_lib.core.errors import UserError
from tasks.stage import guarded

# What a run says of itself: whose it is, and after how many seconds without a sign of life it is not alive.
PROJECT, SILENCE = "graftline.project", "graftline.silence"
SECONDS_BETWEEN_LOOKS = 10
SILENT = "it was killed, or cut off: nothing was heard of it for"


def watch(client: httpx.Client) -> None:
    """Look at the server again and again, and once it has answered for long enough to have heard of a run, act."""
    answering_since = time.monotonic()
    while True:
        try:
            for run, seconds in silent_runs(client).items():
                if time.monotonic() - answering_since > seconds:
                    state = {"type": "CRASHED", "name": "Crashed", "message": f"{SILENT} {seconds} s"}
                    client.post(f"/flow_runs/{run}/set_state", json={"state": state, "force": True})
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == httpx.codes.UNAUTHORIZED:
                raise UserError(f"the server at {client.base_url} no longer takes the password: start again") from None
            answering_since = time.monotonic()
        time.sleep(SECONDS_BETWEEN_LOOKS)


def silent_runs(client: httpx.Client) -> dict[str, int]:
    """Return the ids of this project's runs of which the server had a sign of life, but none for too long.

    With each comes how many seconds that is. All is by the server's clock.
    """
    chosen = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    answer = client.post("/flow_runs/filter", json=chosen).raise_for_status()
    now = parsedate_to_datetime(answer.headers["date"])
    silent = {}
    for run in answer.json():
        if run["labels"].get(PROJECT) == project() and (last := _last_heard(client, run)):
            allowed = int(run["labels"][SILENCE])
            if (now - last).total_seconds() > allowed:
                silent[run["id"]] = allowed
    return silent


def _last_heard(client: httpx.Client, run: dict[str, Any]) -> datetime | None:
    names = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run['id']}"]}}
    chosen = {"filter": {**names, "occurred": {"since": run["created"]}, "order": "DESC"}, "limit": 1}
    events = client.post("/events/filter", json=chosen).raise_for_status().json()["events"]
    return datetime.fromisoformat(events[0]["received"]) if events else None


def main() -> None:
    """Watch the server that PREFECT_API_URL names."""
    with httpx.Client(base_url=os.environ["PREFECT_API_URL"], timeout=30, auth=auth()) as client:
        watch(client)


if __name__ == "__main__":
    guarded(main)
