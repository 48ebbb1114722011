"""How Prefect is set here. It reads the environment when it is imported, so flows/__init__.py sets that first.

Nothing phones home. Runs are recorded under .graftline of this project by a server of its own, which answers only to
those who know its password, apart from a Prefect that the user has already, unless they name it.
"""

import fcntl
import hashlib
import os
import re
import secrets
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from pipeline_lib.core.errors import UserError

OWN_HOME = Path.cwd() / ".graftline" / "prefect"
USER = "graftline"
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The UI asks the server that it came from, whatever the port and however it is forwarded.
    "PREFECT_SERVER_UI_API_URL": "/api",
    # The second version of the UI asks a service on the internet for its settings at every load.
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # How long what waits for a concurrency limit sleeps between two tries: 30 s would leave it unused in between.
    "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
    # A run of which the server hears nothing for a while was killed: flows/server/liveness.py.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    # Four tries within 14 s: a server that restarts is back by then, and for a lost one nobody should wait minutes.
    "PREFECT_CLIENT_MAX_RETRIES": "3",
}


def apply() -> None:
    """Set what nobody has set yet, and take this project's own server unless PREFECT_API_URL names another."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if is_own() and Path("dvc.yaml").exists():  # elsewhere there is no project to keep a password for
        use_own()


def is_own() -> bool:
    """Say whether the server that the environment names is the one that this project starts for itself."""
    return os.environ.get("PREFECT_API_URL") in (None, own_address())


def use_own() -> None:
    """Let this process and its children know the password of this project's own server, which no other is told."""
    os.environ.setdefault("PREFECT_HOME", str(OWN_HOME))
    if not os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        os.environ["PREFECT_SERVER_API_AUTH_STRING"] = f"{USER}:{password()}"
    os.environ["PREFECT_API_AUTH_STRING"] = os.environ["PREFECT_SERVER_API_AUTH_STRING"]


def home() -> Path:
    """Return the folder of this project's own server: its database, its password, its address while it is up."""
    return Path(os.environ.get("PREFECT_HOME", OWN_HOME))


def address_file() -> Path:
    """Return the file that a server with a UI holds while it is up, with the address of its API."""
    return home() / "server.url"


def reports() -> Path:
    """Return the folder of the reports that are kept with their runs."""
    return home() / "reports"


def own_address() -> str | None:
    """Return the address of the server with a UI that runs for this project, if one does."""
    with suppress(FileNotFoundError), address_file().open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read() or None
    return None


def password() -> str:
    """Return the password of this project's own server, drawn once and kept where its owner alone can read it.

    One that others could read is replaced. Raises UserError where it cannot be kept from them.
    """
    file = home() / "password"
    try:
        home().mkdir(mode=0o700, parents=True, exist_ok=True)
        if home() == OWN_HOME:  # a folder that the user names may be for others too
            home().chmod(0o700)
        with suppress(FileNotFoundError):
            if (kept := file.read_text(encoding="utf-8")) and _is_private(file):
                return kept
            file.unlink()
        with tempfile.NamedTemporaryFile("w", dir=home()) as fresh:  # private from its first moment
            fresh.write(secrets.token_urlsafe(32))
            fresh.flush()
            with suppress(FileExistsError):  # another process was first
                os.link(fresh.name, file)
        kept, private = file.read_text(encoding="utf-8"), _is_private(file)
    except PermissionError:
        raise UserError(
            f"{file} is another user's: work in a clone of your own, or let PREFECT_API_URL name a server"
        ) from None
    if not private:
        raise UserError(f"on this disk everybody can read {file}: let PREFECT_HOME name a folder on another disk")
    return kept


def _is_private(file: Path) -> bool:
    return not file.stat().st_mode & 0o077


def auth() -> tuple[str, str] | None:
    """Return the name and the password for the server in use, None where it needs none."""
    name, _, secret = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return (name, secret) if name else None


def project() -> str:
    """Return a short name of this project for what it leaves on a server that it shares with others.

    It is that of the folder, and stands for the repository that it was cloned from: the clones of a project on
    several machines are one. A worktree is of the clone that it belongs to.
    """
    clone = str(Path.cwd().resolve()).partition("/.graftline/worktrees/")[0]
    name = re.sub("[^a-z0-9]+", "-", Path(clone).name.lower()).strip("-")
    return f"{name}-{hashlib.sha256(_origin(clone).encode()).hexdigest()[:6]}".lstrip("-")


@cache
def _origin(clone: str) -> str:
    """Return where ``clone`` was cloned from, or itself."""
    command = ["git", "-C", clone, "config", "--get", "remote.origin.url"]
    with suppress(OSError):
        clone = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or clone
    return clone
