"""The Prefect server of this project: one database for every run, whether the UI is up or not."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx

from flows import OWN_HOME
from flows.machine import child
from flows.machine.lock import hold
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import say

HOST = "127.0.0.1"
START_SECONDS = 180


@contextmanager
def api() -> Iterator[str]:
    """Yield the address of a Prefect API: the user's, that of this project's UI, or of a server for this run only.

    The user's is the one in PREFECT_API_URL, if it answers.
    """
    given = os.environ.get("PREFECT_API_URL")
    if given and not answers(given):
        say(f"Prefect's server at {given} does not answer: this project's own server records this run instead")
        del os.environ["PREFECT_API_URL"]
        os.environ.setdefault("PREFECT_HOME", str(OWN_HOME))
    known = os.environ.get("PREFECT_API_URL") or _served()
    if known:
        yield known
    else:
        say("starting Prefect's server for this run")
        with _started(_free_port(), "--no-ui") as url:
            yield url


@contextmanager
def served(port: int) -> Iterator[str]:
    """Start the server with its UI on ``port`` and yield the address of its API, which :func:`api` finds meanwhile."""
    with hold(_address_file(), f"Prefect's UI of this project is up already, at {ui_address(_served())}") as file:
        file.truncate(0)
        _refuse_busy(port)
        with _started(port, "--ui") as url:
            file.write(url)
            file.flush()
            yield url


def answers(url: str) -> bool:
    """Say whether a Prefect API answers at ``url`` within 5 s."""
    try:
        return _client().get(f"{url}/health").status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


@cache
def _client() -> httpx.Client:
    return httpx.Client(timeout=5)


def ui_address(url: str | None) -> str:
    """Return the address of the UI that belongs to the API at ``url``."""
    return (url or "an address that it is about to tell").removesuffix("/api")


@contextmanager
def _started(port: int, ui: str) -> Iterator[str]:
    """Run a server as a child that ends with this block, and with this process at the latest."""
    home = _home()
    home.mkdir(parents=True, exist_ok=True)
    log_file = home / "server.log"
    url = f"http://{HOST}:{port}/api"
    with log_file.open("w") as log:
        arguments = ("server", "start", "--host", HOST, "--port", str(port), ui)
        process = child.start("prefect", *arguments, stdout=log, stderr=log)
        try:
            _wait_until_ready(url, process, log_file)
            yield url
        finally:
            child.stop(process)


def _wait_until_ready(url: str, process: subprocess.Popen[str], log_file: Path) -> None:
    """Wait until the server answers; the first start writes its database and takes longest."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if answers(url):
            return
        time.sleep(0.1)
    raise RuntimeError(f"Prefect's server did not start: {log_file} says why")


def _home() -> Path:
    return Path(os.environ.get("PREFECT_HOME", OWN_HOME))


def _address_file() -> Path:
    return _home() / "server.url"


def _served() -> str | None:
    """Return the address of the server with a UI that runs for this project, if one does."""
    try:
        with hold(_address_file(), "held by the server"):
            return None
    except UserError:
        return _address_file().read_text(encoding="utf-8") or None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _refuse_busy(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise UserError(
                f"port {port} is in use: end the program that has it, or take another port, "
                f"as in python -m flows.server.serve --port {port + 1}"
            ) from None
