"""Show runs that were killed as Crashed, until this ends: ``python -m flows.server.liveness``.

It watches the server that PREFECT_API_URL names.

A run gives a sign of life every 30 s (flows/__init__.py). Prefect's own way is an automation on its absence, for which
a server on SQLite locks itself out at the end of most runs, at times for a minute.
"""

import os
import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

FLOWS = ("transfer", "sweep")
SECONDS = 90  # of silence
SECONDS_BETWEEN_LOOKS = 10
SILENT = f"it was killed, or cut off: nothing was heard of it for {SECONDS} s"


def watch(client: httpx.Client) -> None:
    """Look at the server again and again, and once it has answered for long enough to have heard of every run, act."""
    answering_since = time.monotonic()
    while True:
        try:
            for run in silent_runs(client):
                if time.monotonic() - answering_since > SECONDS:
                    state = {"type": "CRASHED", "name": "Crashed", "message": SILENT}
                    client.post(f"/flow_runs/{run}/set_state", json={"state": state, "force": True})
        except httpx.HTTPError:
            answering_since = time.monotonic()
        time.sleep(SECONDS_BETWEEN_LOOKS)


def silent_runs(client: httpx.Client) -> list[str]:
    """Return the ids of runs of which the server had a sign of life, but none lately; all by the server's clock."""
    chosen = {"flows": {"name": {"any_": FLOWS}}, "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    answer = client.post("/flow_runs/filter", json=chosen).raise_for_status()
    now = parsedate_to_datetime(answer.headers["date"])
    heard = {run["id"]: _last_heard(client, run) for run in answer.json()}
    return [run for run, last in heard.items() if last and (now - last).total_seconds() > SECONDS]


def _last_heard(client: httpx.Client, run: dict[str, Any]) -> datetime | None:
    names = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run['id']}"]}}
    chosen = {"filter": {**names, "occurred": {"since": run["created"]}, "order": "DESC"}, "limit": 1}
    events = client.post("/events/filter", json=chosen).raise_for_status().json()["events"]
    return datetime.fromisoformat(events[0]["received"]) if events else None


def main() -> None:
    """Watch the server that PREFECT_API_URL names."""
    name, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    auth = (name, password) if name else None
    with httpx.Client(base_url=os.environ["PREFECT_API_URL"], timeout=30, auth=auth) as client:
        watch(client)


if __name__ == "__main__":
    main()
