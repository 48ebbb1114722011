"""Serve the flow and Prefect's UI on this machine, until Ctrl-C."""

import argparse
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.machine import child
from flows.server.start import HOST, entrance, served
from flows.server.worker import POOL
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import say
from tasks.stage import guarded

PORT = 4200
DEPLOYMENTS = Path("prefect.yaml")
# Prefect's own template lets whoever asks for a run choose its command, folder and environment. Ours lets no one.
JOBS = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}


def main() -> None:
    """Start the server, make the deployments of prefect.yaml, and run a worker for them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help=f"of the UI (default: {PORT})")
    parser.add_argument(
        "--host", default=HOST, help="name or address of this machine by which others reach it (default: nobody does)"
    )
    parser.add_argument(
        "--nightly", action="store_true", help="also run what is committed, as prefect.yaml schedules it"
    )
    chosen = parser.parse_args()
    if not DEPLOYMENTS.exists():
        raise UserError(f"{DEPLOYMENTS}, which says what to serve, is missing: get it back with 'git checkout'")
    say("starting Prefect's server")
    with served(chosen.port, chosen.host) as url, temporary_settings({PREFECT_API_URL: url}):
        say(f"Prefect's UI is at {entrance(url)}\nThe link holds its password. Ctrl-C ends it")
        os.environ["PREFECT_API_URL"] = url
        make_pool()
        _deploy("here", "sweep", *(["nightly"] if chosen.nightly else []))
        worker = child.start("flows.server.worker")
        try:
            # Ctrl-C is how it is meant to end.
            with suppress(KeyboardInterrupt):
                raise SystemExit(f"error: Prefect's worker ended by itself, with exit code {worker.wait()}")
        finally:
            child.stop(worker)


def make_pool() -> None:
    """Make the work pool of this project's runs, or close the one that is there."""
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=JOBS))
        except ObjectAlreadyExists:
            client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=JOBS))


def _deploy(*names: str) -> None:
    """Make the deployments ``names`` of prefect.yaml."""
    chosen = [part for name in names for part in ("--name", name)]
    process = child.start("prefect", "--no-prompt", "deploy", *chosen, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate()
    if process.returncode:
        raise UserError(f"Prefect could not make the deployments of {DEPLOYMENTS}: {' '.join(output.split())}")


if __name__ == "__main__":
    guarded(main)
