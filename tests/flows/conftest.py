import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.pipeline import deliver
from flows.server.start import _free_port

ROOT = Path(__file__).resolve().parents[2]
PARAMS = """seed: 0
seeds: [0]
device: cpu
datasets:
  mnist: {reader: mnist5k, path: toy.py, content: 20}
  digits: {reader: digits, path: toy.py, content: 16}
source: [mnist]
target: [digits]
heads:
  epochs: 1
evaluate:
  repeats: 2
report:
  title: toy
"""
# A diamond, with one stage beside it.
DVC = """
stages:
  alone:
    cmd: python toy.py alone
    params: [evaluate.repeats]
    deps: [toy.py]
    outs: [out/alone.txt]
    meta: {gpu: true}
  join:
    cmd: python toy.py join
    params: [report.title]
    deps: [toy.py, out/left.txt, out/right.txt]
    outs: [out/join.txt]
    metrics: [metrics/join.json]
  left:
    cmd: python toy.py left
    params: [heads.epochs]
    deps: [toy.py, out/start.txt]
    outs: [out/left.txt]
    meta: {retries: 1}
  right:
    cmd: python toy.py right
    params: [device]
    deps: [toy.py, out/start.txt]
    outs: [out/right.txt]
    meta: {gpu: true}
  start:
    cmd: python toy.py start
    params: [seed]
    deps: [toy.py]
    outs: [out/start.txt]
"""
# A stage for each dataset and one for each seed.
GROUPS = """
stages:
  ingest:
    foreach: ${datasets}
    do:
      cmd: python groups.py ingest-${key} out/${key}.txt
      params: ["datasets.${key}"]
      deps: [groups.py]
      outs: ["out/${key}.txt"]
  train:
    matrix: {seed: "${seeds}"}
    cmd: python groups.py train-${item.seed} out/train/${item.seed}.txt metrics/train/${item.seed}.json
    params: [heads]
    deps: [groups.py, out/mnist.txt]
    outs: ["out/train/${item.seed}.txt"]
    metrics: ["metrics/train/${item.seed}.json"]
  judge:
    cmd: python groups.py judge metrics/judge.json
    params: [target]
    deps: [groups.py, out/train, out/mnist.txt, out/digits.txt]
    metrics: [metrics/judge.json]
"""
# Leaves a line in `starts-<name>`, waits for what the file `meet` says, and writes files.
GROUPS_CODE = """
import json, os, sys, time
from pathlib import Path
name, *files = sys.argv[1:]
with Path(os.environ.get("STARTS", "."), f"starts-{name}").open("a") as starts:
    print(os.getpid(), file=starts)
meet = Path("meet").read_text().split() if Path("meet").exists() else []
while name in meet and not all(Path(f"starts-{other}").exists() for other in meet):
    time.sleep(0.05)
for file in map(Path, files):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"letters": sum(map(ord, Path("params.yaml").read_text()))}))
"""


@pytest.fixture(scope="session", autouse=True)
def own_gpu_slots(tmp_path_factory) -> Iterator[None]:
    """One GPU, and its lock is these tests' own, whatever the machine has and whatever else runs on it."""
    folder = tmp_path_factory.mktemp("slots")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        pretend_gpus(patch, folder, "GPU 0: Toy (UUID: GPU-toy)")
        yield


def pretend_gpus(patch: pytest.MonkeyPatch, folder: Path, listing: str) -> None:
    """Let the machine have the GPUs of ``listing``, as the driver's own program prints it."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<end\n{listing}\nend\n")
    program.chmod(0o755)
    patch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """A toy project that has never run."""
    project = tmp_path_factory.mktemp("template") / "toy"
    project.mkdir()
    shutil.copy(Path(__file__).parent / "toy.py", project)
    shutil.copy(ROOT / "prefect.yaml", project)
    (project / "params.yaml").write_text(PARAMS)
    (project / "dvc.yaml").write_text(DVC)
    (project / ".dvcignore").write_text("starts-*\ntold-*\n")
    (project / ".gitignore").write_text("starts-*\ntold-*\n.graftline/\n")
    subprocess.run(["git", "init", "-q", "-b", "main", "."], cwd=project, check=True)
    for key, value in (("user.name", "toy"), ("user.email", "toy@localhost")):
        subprocess.run(["git", "config", key, value], cwd=project, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=project, check=True)
    subprocess.run(["git", "add", "-A"], cwd=project, check=True)
    subprocess.run(["git", "commit", "-q", "-m", "toy"], cwd=project, check=True)
    return project


@pytest.fixture(scope="session")
def finished_template(template, tmp_path_factory) -> Path:
    """A toy project that `dvc repro` has run."""
    project = tmp_path_factory.mktemp("finished") / "toy"
    shutil.copytree(template, project)
    repro(project)
    return project


@pytest.fixture(scope="session")
def served(finished_template, tmp_path_factory) -> Iterator[tuple[subprocess.Popen[str], Path, str]]:
    """`python -m flows.server.serve` in a toy project with a database of its own: its process, project and address.

    When all is done, Ctrl-C has to end it with all that it started.
    """
    project = tmp_path_factory.mktemp("served") / "toy"
    shutil.copytree(finished_template, project)
    secret = ("PREFECT_API", "PREFECT_SERVER_API_AUTH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(secret)}
    environment |= {"PREFECT_HOME": str(project / ".graftline/prefect"), "PYTHONPATH": str(ROOT)}
    environment["PREFECT_WORKER_QUERY_SECONDS"] = "1"
    command = [sys.executable, "-m", "flows.server.serve", "--nightly", "--port", str(_free_port())]
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        told = next(line for line in process.stdout if line.startswith("Prefect's UI is at"))
        yield process, project, told.split()[-1].partition("/enter#")[0]
        tree = psutil.Process(process.pid).children(recursive=True)
        assert tree, "the server is a child"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        ended(tree)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def api(served) -> Iterator[str]:
    """The address of the API of the served project, which flows of this process use."""
    _, project, address = served
    home = project / ".graftline/prefect"
    secret = f"graftline:{(home / 'password').read_text()}"
    names = {PREFECT_API_URL: f"{address}/api", PREFECT_API_AUTH_STRING: secret, PREFECT_HOME: home}
    with pytest.MonkeyPatch.context() as patch, temporary_settings(names):
        patch.setenv("PREFECT_API_AUTH_STRING", secret)
        yield f"{address}/api"
        deliver()


@pytest.fixture
def project(template, tmp_path, monkeypatch) -> Path:
    """A fresh toy project, as the working directory."""
    return _copy(template, tmp_path / "toy", monkeypatch)


@pytest.fixture
def finished(finished_template, tmp_path, monkeypatch) -> Path:
    """A toy project whose stages have all run, as the working directory."""
    return _copy(finished_template, tmp_path / "toy", monkeypatch)


@pytest.fixture
def grouped(project) -> Path:
    """A project with a stage for each dataset and one for each of two seeds, committed, none of which has run."""
    (project / "dvc.yaml").write_text(GROUPS)
    (project / "groups.py").write_text(GROUPS_CODE)
    with (project / ".gitignore").open("a") as file:
        # Else DVC lists outputs in files of its own inside the folders that `judge` depends on, as they come.
        file.write("/out/\n/metrics/\n")
    edit(project, "seeds: [0]", "seeds: [0, 1]")
    subprocess.run(["git", "add", "-A"], cwd=project, check=True)
    subprocess.run(["git", "commit", "-q", "-m", "groups"], cwd=project, check=True)
    return project


def _copy(template: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, project)
    monkeypatch.chdir(project)
    # The children of a flow in the toy project find flows and tasks here.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return project


def repro(project: Path) -> None:
    """Run `dvc repro`, with `python` being the one that runs the tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "-q"], cwd=project, check=True, env={**os.environ, "PATH": path}
    )


def edit(project: Path, old: str, new: str, file: str = "params.yaml") -> None:
    """Replace the only ``old`` in a file of the project."""
    text = (project / file).read_text()
    assert text.count(old) == 1
    (project / file).write_text(text.replace(old, new))


def depend(project: Path, *deps: str) -> None:
    """Let the stage `start` depend on ``deps``."""
    outs = "\n    outs: [out/start.txt]"
    edit(project, f"deps: [toy.py]{outs}", f"deps: [{', '.join(deps)}]{outs}", "dvc.yaml")


def track_images(project: Path, elsewhere: Path, by: str) -> None:
    """Let DVC track a folder `images` by its command "add", or by "import-url" of another folder, ``elsewhere``."""
    folder = elsewhere if by == "import-url" else project / "images"
    folder.mkdir()
    (folder / "one.txt").write_text("one")
    places = [str(folder), "images"] if by == "import-url" else ["images"]
    subprocess.run([sys.executable, "-m", "dvc", by, "-q", *places], cwd=project, check=True)


def starts(project: Path, stage: str) -> int:
    """How often the command of ``stage`` was started."""
    file = project / f"starts-{stage}"
    return len(file.read_text().splitlines()) if file.exists() else 0


def hold_dvc(seconds: float) -> subprocess.Popen[bytes]:
    """Hold DVC's lock of the working directory from now on for so long, as an editor that looks at the project does."""
    code = "import time, zc.lockfile; held = zc.lockfile.LockFile('.dvc/tmp/lock'); print(1, flush=True); time.sleep"
    process = subprocess.Popen([sys.executable, "-c", f"{code}({seconds})"], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def wait_for(answer: Callable[[], Any], seconds: float) -> Any:
    """Ask until there is an answer, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := answer()):
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(0.1)
    return found


def ended(processes: list[psutil.Process]) -> None:
    """Check that the processes end, whether or not someone has collected them."""

    def runs(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    wait_for(lambda: not any(map(runs, processes)), 60)
