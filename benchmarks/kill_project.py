"""The projects and the server of benchmarks.kill_matrix."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.scratch import LEAST_PARAMS, ROOT, differing, environment
from flows.machine import child
from flows.server.settings import auth
from flows.server.start import _free_port, answers

SECONDS = 180  # the most that anything may take
PLAIN = """stages:
  after:
    cmd: python stages.py after
    deps: [stages.py, out/count.bin]
    metrics: [out/after.json]
  beside:
    cmd: python stages.py beside
    params: [device]
    deps: [stages.py]
    outs: [out/beside.txt]
  count:
    cmd: python stages.py count
    params: [seed]
    deps: [stages.py]
    outs: [out/count.bin]
    meta: {gpu: true}
"""
# With data that `dvc add` tracks, and stages of foreach and matrix.
GROWN = """stages:
  after:
    cmd: python stages.py after
    deps: [stages.py, out/count.bin]
    metrics: [out/after.json]
  beside:
    foreach: ${datasets}
    do:
      cmd: python stages.py beside@${key}
      params: [device]
      deps: [stages.py, images]
      outs: ["out/beside-${key}.txt"]
  count:
    matrix: {seed: [0]}
    cmd: python stages.py count@${item.seed}
    params: [seed]
    deps: [stages.py, images]
    outs: [out/count.bin]
    meta: {gpu: true}
"""


def make_template(folder: Path, stages: str) -> Path:
    """Make a project with ``stages`` in ``folder``/fresh, and an undisturbed ``dvc repro`` of it in ``folder``/done."""
    fresh, done = folder / "fresh", folder / "done"
    fresh.mkdir(parents=True)
    shutil.copy(ROOT / "benchmarks/kill_stages.py", fresh / "stages.py")
    shutil.copy(ROOT / "prefect.yaml", fresh)
    params = LEAST_PARAMS.format(seed=0, file="stages.py")
    for name, text in {"dvc.yaml": stages, "params.yaml": params, ".dvcignore": "notes\nhold\n"}.items():
        (fresh / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=fresh, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=fresh, check=True)
    (fresh / "images").mkdir()
    (fresh / "images/one.txt").write_text("one")
    subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", "images"], cwd=fresh, check=True)
    subprocess.run(["git", "add", "--all"], cwd=fresh, check=True)
    person = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")
    subprocess.run(["git", *person, "commit", "--quiet", "--message", "project"], cwd=fresh, check=True)
    shutil.copytree(fresh, done)
    variables = {**environment(done), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dvc", "repro", "--quiet"]
    subprocess.run(command, cwd=done, env=variables, check=True, stdout=subprocess.DEVNULL)
    return folder


def wait_for(answer: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Ask until there is an answer, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := answer()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: nothing within {seconds} s")
        time.sleep(0.02)
    return found


class Server:
    """A Prefect server that can be killed and come back at the same address."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self._home, self._port = home, _free_port()
        self.url = f"http://127.0.0.1:{self._port}/api"
        self.known: set[str] = set()
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        arguments = ("server", "start", "--host", "127.0.0.1", "--port", str(self._port), "--no-ui")
        with (self._home / "server.log").open("a") as log:
            variables = {"PREFECT_HOME": str(self._home)}
            self._process = child.start("prefect", *arguments, environment=variables, stdout=log, stderr=log)
        wait_for(lambda: answers(self.url), "the server")

    def kill(self) -> None:
        """Kill it at once."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def new_runs(self) -> list[dict[str, Any]]:
        """Return the runs since the last time that ``known`` was filled, the oldest first."""
        runs = httpx.post(
            f"{self.url}/flow_runs/filter", json={"sort": "START_TIME_ASC"}, auth=auth(), timeout=30
        ).json()
        return [run for run in runs if run["id"] not in self.known]


class Project:
    """A fresh copy of the project in ``folder``, and the runs in it."""

    def __init__(self, folder: Path, template: Path, stack: ExitStack) -> None:
        self.folder, self.template, self.stack = folder, template, stack
        self._tracked: set[psutil.Process] = set()
        self.beside: set[int] = set()  # processes of the benchmark itself
        folder.mkdir()
        self.fill()

    def fill(self) -> None:
        """Copy the project to its folder."""
        shutil.copytree(self.template / "fresh", self.folder, dirs_exist_ok=True)

    def start(self, url: str, hold: str = "", module: str = "flows.pipeline", *arguments: str) -> psutil.Popen:
        """Start the flow, of which a stage waits at the moment ``hold``."""
        (self.folder / "hold").write_text(hold)
        places = {"PREFECT_API_URL": url}
        # GPU slots of its own, outside the disk that may be full.
        (self.folder.parent / "tmp").mkdir(exist_ok=True)
        places |= {"TMPDIR": str(self.folder.parent / "tmp"), "PYTHONPATH": str(ROOT)}
        places["KILL_NOTES"] = str(self.folder)
        variables = {name: value for name, value in {**environment(self.folder), **places}.items() if value}
        with (self.folder.parent / "log").open("a") as log:
            command = [sys.executable, "-m", module, *arguments]
            flow = psutil.Popen(command, cwd=self.folder, env=variables, stdout=log, stderr=log)
        self.stack.callback(flow.wait)
        self.stack.callback(_kill, flow)
        return flow

    def enter_worktree(self) -> None:
        """Go on in the worktree of nightly runs, which is brought to what is committed first."""
        clone = Path(str(self.folder).partition("/.graftline/")[0])
        command = [sys.executable, "-m", "flows.repo.worktree", "nightly"]
        variables = {**environment(clone), "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(command, cwd=clone, env=variables, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        self.folder = Path(ended.stdout.strip())

    def log(self) -> str:
        """Return what the runs have printed."""
        return (self.folder.parent / "log").read_text()

    def wait_held(self, moment: str) -> dict[str, psutil.Process]:
        """Wait until the stage is at ``moment``; return its process, DVC's and the flow's."""
        notes = self.folder / "notes"
        line = wait_for(
            lambda: notes.exists() and [line for line in notes.read_text().splitlines() if line.endswith(f" {moment}")],
            f"the moment {moment}",
        )[-1]
        stage = psutil.Process(int(line.split()[0]))
        dvc = next(process for process in stage.parents() if "flows.machine.child" in process.cmdline())
        self._tracked |= {dvc.parent(), *dvc.parent().children(recursive=True)}
        return {"stage": stage, "dvc": dvc, "flow": dvc.parent()}

    def release(self) -> None:
        """Let a stage that waits go on."""
        (self.folder / "hold").write_text("")

    def wait(self, flow: psutil.Popen) -> int:
        """Return the exit code of the flow."""
        return int(flow.wait(SECONDS))

    def judge(self, server: Server, row: dict[str, Any]) -> dict[str, Any]:
        """Say what is left of the killed run, run the flow again, and compare."""
        left = self.left()
        whole = _digest(self.template / "done/out/count.bin")
        output = self.folder / "out/count.bin"
        half = output.exists() and _digest(output) != whole
        saved = [json.loads(file.read_text())[0] for file in self.folder.glob(".graftline/checkpoints/count*/*/*.json")]
        before = self.beginnings()
        again = self.wait(self.start(server.url))
        resumed = self.beginnings()[len(before) :]
        lost = again != 0 or half or resumed not in ([], saved or [0])
        done = self.template / "done"
        same_lock = again == 0 and (self.folder / "dvc.lock").read_bytes() == (done / "dvc.lock").read_bytes()
        states = self.final_states(server)
        expected = row.get("expected", {0: "Completed"}.get(row["exit_code"], "Failed"))
        return {
            "orphans": len(left) + len(self.left()),
            "lost": lost,
            "unequal": not same_lock or bool(differing(self.folder, done)),
            "untrue": states != [*([expected] if expected else []), "Completed"],
            "checkpoint": (saved or [0])[-1],
            "resumed_at": resumed[-1] if resumed else None,
            "shown": states[0],
            **({"log": self.log()[-3000:]} if lost or left else {}),
        }

    def beginnings(self) -> list[int]:
        """Return the steps at which ``count`` began, each time."""
        notes = self.folder / "notes"
        lines = notes.read_text().splitlines() if notes.exists() else []
        return [int(line.split()[-1]) for line in lines if "began at" in line]

    def left(self) -> list[str]:
        """Return what still runs of the project after a minute."""

        def running() -> list[str]:
            found = [*self._tracked, *psutil.process_iter()]
            return [_name(process) for process in found if self.is_of_run(process)]

        deadline = time.monotonic() + 60
        while (names := running()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return names

    def is_of_run(self, process: psutil.Process) -> bool:
        """Say whether ``process`` runs, and belongs to the runs of this project."""
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE or process.pid in self.beside:
                return False
            return process in self._tracked or Path(process.cwd()).is_relative_to(self.folder)
        except psutil.Error:
            return False

    def final_states(self, server: Server) -> list[str]:
        """Return the states in which the runs since the last time ended, the oldest first."""

        def final() -> list[dict[str, Any]]:
            runs = server.new_runs()
            ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            return runs if all(run["state_type"] in ended for run in runs) else []

        with suppress(TimeoutError):
            wait_for(final, "the end of every run", 30)
        runs = server.new_runs()
        server.known |= {run["id"] for run in runs}
        return [run["state_name"] for run in runs]


def _kill(process: psutil.Popen) -> None:
    if process.is_running():
        process.kill()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return str(process.pid)
