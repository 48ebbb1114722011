"""The Prefect server of this project: one database for every run, whether the UI is up or not."""

import errno
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote

import httpx

from flows.machine import child
from flows.machine.lock import hold
from flows.server.settings import address_file, auth, home, is_own, own_address, use_own
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import say

HOST = "127.0.0.1"
START_SECONDS = 180


@contextmanager
def api() -> Iterator[str]:
    """Yield the address of a Prefect API: the user's, that of this project's UI, or of a server for this run only.

    The user's is the one in PREFECT_API_URL, if it answers. Raises UserError if it wants another password.
    """
    given = os.environ.get("PREFECT_API_URL")
    if given and not answers(given):
        say(f"Prefect's server at {given} does not answer: this project's own server records this run instead")
        del os.environ["PREFECT_API_URL"]
        with _told_own(), api() as url:
            yield url
    elif known := given or own_address():
        version(known)
        yield known
    else:
        say("starting Prefect's server for this run")
        with _started(HOST, _free_port(), ui=False) as url:
            yield url


@contextmanager
def _told_own() -> Iterator[None]:
    """Let Prefect, which has read the environment already, use the password of this project's own server."""
    from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings  # not at the top: a second

    use_own()
    with temporary_settings({PREFECT_API_AUTH_STRING: os.environ["PREFECT_API_AUTH_STRING"]}):
        yield


@contextmanager
def served(port: int, host: str = HOST) -> Iterator[str]:
    """Start the server with its UI and yield the address of its API, which :func:`api` finds meanwhile."""
    url = (own_address() or "an address that it is about to tell").removesuffix("/api")
    with hold(address_file(), f"Prefect's UI of this project is up already, at {url}") as file:
        file.truncate(0)
        _refuse_busy(host, port)
        with _started(host, port, ui=True) as url:
            file.write(url)
            file.flush()
            yield url


def answers(url: str) -> bool:
    """Say whether a Prefect API answers at ``url`` within 5 s."""
    try:
        return _client().get(f"{url}/health").status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def version(url: str) -> str | None:
    """Return the version of Prefect that answers at ``url``, None if it does not tell.

    Raises UserError if it asks for a password other than the one that this process has.
    """
    answer = httpx.get(f"{url}/admin/version", auth=auth(), timeout=30)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        if is_own():
            raise UserError(f"the server at {url} was started with another password: end it, and start it again")
        wrong = "does not take the password in" if auth() else "asks for a password: set"
        raise UserError(f"Prefect's server at {url} {wrong} PREFECT_API_AUTH_STRING, which is as in name:password")
    return str(answer.json()) if answer.is_success else None


@cache
def _client() -> httpx.Client:
    return httpx.Client(timeout=5)


def entrance(url: str) -> str:
    """Return the link that opens the UI of the API at ``url`` without typing a password.

    What is behind the # stays in the browser: it is sent to no server, so it is in no log.
    """
    return f"{url.removesuffix('/api')}/enter#{quote(':'.join(auth() or ()), safe=':')}"


@contextmanager
def _started(host: str, port: int, ui: bool) -> Iterator[str]:
    """Run a server as a child that ends with this block, and with this process at the latest."""
    home().mkdir(parents=True, exist_ok=True)
    log_file = home() / "server.log"
    address = f"http://{host}:{port}"
    # A page of another origin may ask it nothing; flows/server/app.py is about what else it may not.
    settings = {"PREFECT_SERVER_UI_ENABLED": str(ui), "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": address}
    with log_file.open("w") as log:
        process = child.start("flows.server.app", host, str(port), environment=settings, stdout=log, stderr=log)
        try:
            _wait_until_ready(f"{address}/api", process, log_file)
            yield f"{address}/api"
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _refuse_busy(host: str, port: int) -> None:
    if host == "0.0.0.0":  # noqa: S104
        raise UserError("--host takes the name or address by which others reach this machine: 0.0.0.0 is none")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror:
            raise UserError(f"'{host}' is no name or address of this machine: --host takes one of these") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UserError(f"the server cannot listen at {host}:{port}: {error.strerror}") from None
            raise UserError(
                f"port {port} is in use: end the program that has it, or take another port, "
                f"as in graftline ui --port {port + 1}"
            ) from None
