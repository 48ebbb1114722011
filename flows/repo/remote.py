"""DVC's remote, through which clones share results: what one has run, another restores."""

import subprocess
from collections.abc import Callable

from dvc.repo import Repo

from flows.machine import child


def remote_name() -> str | None:
    """Return the name of the default remote, or None if none is set."""
    with Repo() as repo:
        name = repo.config["core"].get("remote")
    return str(name) if name else None


def fetch(log: Callable[[str], None]) -> str:
    """Bring what the remote knows of earlier runs into DVC's cache; return why not, or nothing."""
    return _transfer(("fetch", "--run-cache"), "nothing was fetched", log)


def push(log: Callable[[str], None]) -> str:
    """Send the results of this run to the remote; return why not, or nothing."""
    return _transfer(("push", "--run-cache"), "the results were not pushed", log)


def _transfer(command: tuple[str, ...], undone: str, log: Callable[[str], None]) -> str:
    process = child.start("dvc", "--wait-for-lock", *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = []
    try:
        for line in filter(None, map(str.strip, process.stdout or ())):
            lines.append(line)
            log(line)
        if process.wait() == 0:
            return ""
    except BaseException:
        child.stop(process)
        raise
    said = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"{undone}: DVC's remote says: {said[-1] if said else 'nothing'}"
