"""Child processes that end with the process that started them, together with all that they started.

``python -m flows.child <pid of the parent> <module> <arguments>`` is ``python -m <module> <arguments>`` that dies
with its parent, however that one dies. Asking the system for it between fork and exec is not safe in a process
with threads, as a flow is.
"""

import ctypes
import os
import runpy
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

GRACE_SECONDS = 10


def start(module: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start ``python -m module arguments`` in a session of its own, where Ctrl-C at the terminal does not reach it."""
    command = [sys.executable, "-m", "flows.child", str(os.getpid()), module, *arguments]
    # The commands in dvc.yaml say `python`: this makes it the one that runs the flow.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])  # noqa: PTH120
    environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, env=environment, start_new_session=True, text=True, errors="replace", **options)


def stop(child: subprocess.Popen[str]) -> None:
    """End ``child`` and every process of its session, first politely."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)


def _end_session(number: int, frame: object) -> None:
    """Pass the end on to what this process started: a stage outlives a killed DVC by itself."""
    signal.signal(number, signal.SIG_DFL)
    os.killpg(0, number)


def _main() -> None:
    _, parent, module, *arguments = sys.argv
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 = PR_SET_PDEATHSIG
        if os.getppid() != int(parent):
            raise SystemExit(1)
    signal.signal(signal.SIGTERM, _end_session)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
