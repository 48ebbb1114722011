"""Run a worker in this clone, until Ctrl-C: it asks Prefect's server for runs, and starts each as a process.

All it needs to know of the server is PREFECT_API_URL, and PREFECT_API_AUTH_STRING, unless it is this clone's own.
"""

import argparse
import os
import sys
from importlib import metadata
from pathlib import Path

import httpx

from flows.machine import child
from flows.server.start import version
from pipeline_lib.core.errors import UserError
from tasks.stage import guarded

POOL = "graftline"


def main() -> None:
    """Become `prefect worker start`, in an environment in which prefect.yaml finds this clone and its Python."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", default=POOL, help=f"the work pool whose runs it takes (default: {POOL})")
    pool = parser.parse_args().pool
    _refuse_unusable()
    os.environ["GRAFTLINE_CLONE"] = str(Path.cwd())
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    child.start("flows.server.liveness")  # it ends with the worker that this process becomes
    os.execv(sys.executable, command)  # noqa: S606


def _refuse_unusable() -> None:
    """Raise UserError for a server that is not there, or does not take the password, or is of another version."""
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise UserError("PREFECT_API_URL is not set: let it name Prefect's server, as in http://host:4200/api")
    try:
        httpx.get(f"{url}/health", timeout=30).raise_for_status()
        served, own = version(url), metadata.version("prefect")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(f"no Prefect server answers at {url}, which PREFECT_API_URL names: {error}") from None
    # A server understands workers that are older by a patch, but not by more, and none that are newer.
    if served and served.split(".")[:2] != own.split(".")[:2]:
        raise UserError(
            f"this clone has Prefect {own}, but the server at {url} has {served}: bring both to the same commit of "
            "graftline, and start them again"
        )


if __name__ == "__main__":
    guarded(main)
