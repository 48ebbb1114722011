"""One stage as a child process: `dvc repro` of it alone, its output line by line, and what became of it."""

import json
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flows.machine import child
from tasks.stage import BYTES_LEFT, CHECKPOINTS, FINISHED, KEEP, checkpoints_of, full_disk

USER_MISTAKE = 2
PROGRESS = '{"event": "progress"'
NUMBERS = ("done", "total")
# What DVC says after every stage, of which a person who watches learns nothing.
SMALL_TALK = (
    "To track the changes",
    "To enable auto staging",
    "Use `dvc push`",
    "Generating lock",
    "Updating lock",
    "\t",
)

# What programs, and DVC, say when there is no space left.
FULL = ("No space left on device", "Disk quota exceeded")

_running: set[subprocess.Popen[str]] = set()
_stopping = threading.Event()


@dataclass(frozen=True)
class StageResult:
    """What became of a stage.

    ``exit_code`` is that of the stage's own command (negative: killed by that signal), or DVC's where DVC failed
    without it. ``error`` is one sentence, empty after a success; a "mistake" is the user's to mend, a "crash" may
    pass when the stage is tried again, and "stopped" was on purpose.
    """

    state: Literal["executed", "restored", "cached"]
    seconds: float
    exit_code: int
    error: str = ""
    failure: Literal["", "mistake", "crash", "stopped"] = ""


def run_stage(
    name: str,
    on_line: Callable[[str], None],
    on_progress: Callable[[Mapping[str, Any]], None],
    timeout: float | None = None,
    folder: str | Path = ".",
    pull: bool = False,
    environment: Mapping[str, str] | None = None,
    with_upstream: bool = False,
) -> StageResult:
    """Bring the stage ``name`` up to date with DVC, handing on each line and each progress event as it comes.

    After ``timeout`` seconds it is stopped, which is a crash. ``folder`` is the root of the project. With ``pull``
    a result that DVC's remote has is taken from there. ``environment`` is added to that of this process. With
    ``with_upstream`` the stages before it are brought up to date first.
    """
    began = time.monotonic()
    # Without --wait-for-lock, a stage that ends while another one holds DVC's lock is lost from dvc.lock.
    scope = () if with_upstream else ("--single-item",)
    # With the stages before it, --allow-missing would rely on results that dvc.lock has from elsewhere, though no cache
    # here has them.
    share = ("--pull", *(() if with_upstream else ("--allow-missing",))) if pull else ()
    arguments = ("--wait-for-lock", "repro", *scope, *share, name)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = child.start("dvc", *arguments, cwd=folder, environment={KEEP: "1", **(environment or {})}, **pipes)
    late = threading.Event()

    def end_late() -> None:
        late.set()
        child.stop(process)

    alarm = threading.Timer(timeout or 0, end_late)
    lines: deque[str] = deque(maxlen=100)
    state: Literal["executed", "restored", "cached"] = "executed"
    _running.add(process)
    try:
        if _stopping.is_set():
            raise InterruptedError(f"the run was stopped before {name} began")
        if timeout is not None:
            alarm.start()
        with child.cleared(process):
            for line in map(str.rstrip, process.stdout or ()):
                if event := progress_event(line):
                    on_progress(event)
                    continue
                if "is cached - skipping run, checking out outputs" in line:
                    state = "restored"
                elif "didn't change, skipping" in line:
                    state = "cached"
                if line and not line.startswith(SMALL_TALK):
                    lines.append(line)
                    on_line(line)
        exit_code = process.wait()
    except BaseException:
        child.stop(process)
        raise
    finally:
        alarm.cancel()
        _running.discard(process)
    seconds = time.monotonic() - began
    if exit_code == 0:
        clear_checkpoints(Path(folder), None if with_upstream else name)
        return StageResult(state, seconds, 0)
    if _stopping.is_set():
        return StageResult(state, seconds, exit_code, f"{name} was stopped with the run", "stopped")
    # The stage does so itself, unless it was killed or does not go through tasks/stage.py.
    child.start("flows.repo.restore", name, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT).wait()
    if late.is_set():
        sentence = f"{name} took longer than the {timeout:g} s that dvc.yaml gives it under meta.timeout"
        return StageResult(state, seconds, exit_code, sentence, "crash")
    return failure_of(name, list(lines), exit_code, seconds, Path(folder).resolve())


def progress_event(line: str) -> Mapping[str, Any] | None:
    """Return the progress that a line of a stage tells of; any other line, or one cut short, is a line of the log."""
    if not line.startswith(PROGRESS):
        return None
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    metrics = event.get("metrics", {})
    if not isinstance(event.get("label"), str) or not isinstance(metrics, dict):
        return None
    if not all(_is_number(event.get(key)) for key in NUMBERS):
        return None
    return {**event, "metrics": {name: value for name, value in metrics.items() if _is_number(value)}}


def clear_checkpoints(folder: Path, name: str | None = None) -> None:
    """Remove the checkpoints of a stage, or of all, that finished, now that DVC has recorded the outputs."""
    at = [folder / checkpoints_of(name)] if name else list((folder / CHECKPOINTS).glob("*"))
    for file in (found for one in at for found in one.glob(f"*/{FINISHED}")):
        shutil.rmtree(file.parent, ignore_errors=True)


def stopping() -> bool:
    """Say whether the run is being stopped."""
    return _stopping.is_set()


@contextmanager
def supervised() -> Iterator[None]:
    """Stop every stage that runs when the block is left by an exception, be it Ctrl-C or a cancelled run."""
    _stopping.clear()
    try:
        yield
    except BaseException:
        _stopping.set()
        child.stop(*_running)
        raise


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def failure_of(name: str, lines: list[str], dvc_code: int, seconds: float, folder: Path) -> StageResult:
    """Make a result of the output of a stage that failed: DVC's last words say whether its command did."""
    said = next((line for line in reversed(lines) if line.startswith("ERROR: ")), "")
    before = lines[: lines.index(said)] if said else lines
    if busy := re.search(r"'(.+)' is busy", said):
        sentence = f"another DVC process works on {busy[1]}, which '{name}' needs: wait for it to end, then run again"
        return StageResult("executed", seconds, dvc_code, sentence, "mistake")
    ended = re.search(r"exited with (-?\d+)$", said)
    refused = ended is not None and int(ended[1]) == USER_MISTAKE
    full = shutil.disk_usage(folder).free < BYTES_LEFT or any(text in line for line in lines for text in FULL)
    if full and not refused:  # in which case the stage says so itself
        return StageResult("executed", seconds, dvc_code, full_disk(folder, name), "mistake")
    if not ended and dvc_code < 0:
        sentence = f"DVC was killed by {signal.Signals(-dvc_code).name} while it worked on '{name}'"
        return StageResult("executed", seconds, dvc_code, sentence, "crash")
    if not ended:
        reason = said.removeprefix("ERROR: ").removeprefix(f"failed to reproduce '{name}': ")
        sentence = f"DVC could not run '{name}': {reason or f'it ended with exit code {dvc_code} and no message'}"
        return StageResult("executed", seconds, dvc_code, sentence, "crash")
    code = int(ended[1])
    if code == USER_MISTAKE:
        told = [line.removeprefix("error: ") for line in before if line.startswith("error: ")]
        sentence = (told or before or [f"{name} refused its input"])[-1]
        return StageResult("executed", seconds, code, sentence, "mistake")
    # A shell, and a stage that cleans up behind itself, end with 128 and the number of the signal.
    number = -code if code < 0 else code - 128
    killed = code < 0 or number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
    how = f"was killed by {signal.Signals(number).name}" if killed else f"crashed with exit code {code}"
    last = "" if killed or not before else f": {before[-1]}"
    return StageResult("executed", seconds, code, f"{name} {how}{last}", "crash")
