"""Child processes that end with the process that started them, together with all that they started.

``python -m flows.machine.child <pid of the parent> <module> <arguments>`` is ``python -m <module> <arguments>`` that
dies with its parent, however that one dies. Asking the system for it between fork and exec is not safe in a process
with threads, as a flow is.
"""

import ctypes
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

GRACE_SECONDS = 10
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def start(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start ``python -m module arguments`` in a session of its own, where Ctrl-C at the terminal does not reach it.

    It has the environment of this process, and what ``environment`` adds.
    """
    command = [sys.executable, "-m", "flows.machine.child", str(os.getpid()), module, *arguments]
    # The commands in dvc.yaml say `python`: this makes it the one that runs the flow.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])  # noqa: PTH120
    everything = {**os.environ, **(environment or {}), "PATH": path, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, env=everything, start_new_session=True, text=True, errors="replace", **options)


def stop(*children: subprocess.Popen[str]) -> None:
    """End ``children`` and every process of their sessions, all at once and first politely."""
    # A child gives what it started GRACE_SECONDS to end, and then ends with it.
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS + 5), (signal.SIGKILL, GRACE_SECONDS)):
        for child in children:
            _signal(child.pid, number)
        deadline = time.monotonic() + seconds
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(deadline - time.monotonic(), 0))


@contextmanager
def cleared(child: subprocess.Popen[str]) -> Iterator[None]:
    """End what is left of the session when ``child`` ends before this block, in which its output is read.

    After a ``kill -9`` of DVC, the command that it ran would go on, and hold the output open until it ends.
    """
    read = threading.Event()

    def clear() -> None:
        # Unless someone stops the child, it stays a zombie until its output is read: no one else has its pid.
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            for number in (signal.SIGTERM, signal.SIGKILL):
                if not read.wait(1 if number == signal.SIGTERM else GRACE_SECONDS):
                    _signal(child.pid, number)

    watcher = threading.Thread(target=clear, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        read.set()


def _signal(session: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(session, number)


def _end_session(number: int, frame: object) -> None:
    """Pass the end on to what this process started, which would outlive it, wait for it, and end.

    A stage that does not end politely is killed: whoever would do it from outside may be dead already.
    """
    signal.signal(number, signal.SIG_IGN)
    os.killpg(0, number)
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
    except ChildProcessError:  # there are no more
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os.killpg(0, signal.SIGKILL)


def die_with_parent() -> None:
    """Ask Linux to send this process SIGTERM when the one that started it dies, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _main() -> None:
    _, parent, module, *arguments = sys.argv
    signal.signal(signal.SIGTERM, _end_session)
    if sys.platform == "linux":
        die_with_parent()
        # What a shell between this process and a stage started becomes a child of this process when the shell dies.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        if os.getppid() != int(parent):
            raise SystemExit(1)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
