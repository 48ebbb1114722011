import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

ROOT = Path(__file__).resolve().parents[2]
PARAMS = "seed: 0\ndevice: cpu\nheads:\n  epochs: 1\ntransfer:\n  repeats: 2\nreport:\n  title: toy\n"
# A diamond, with one stage beside it.
DVC = """
stages:
  alone:
    cmd: python toy.py alone
    params: [transfer.repeats]
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


@pytest.fixture(scope="session")
def api() -> Iterator[str]:
    """The address of a Prefect server with a database of its own."""
    with prefect_test_harness(server_startup_timeout=120):
        yield PREFECT_API_URL.value()


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """A toy project that has never run."""
    project = tmp_path_factory.mktemp("template") / "toy"
    project.mkdir()
    shutil.copy(Path(__file__).parent / "toy.py", project)
    (project / "params.yaml").write_text(PARAMS)
    (project / "dvc.yaml").write_text(DVC)
    (project / ".dvcignore").write_text("starts-*\ntold-*\n")
    subprocess.run(["git", "init", "-q", "."], cwd=project, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=project, check=True)
    return project


@pytest.fixture(scope="session")
def finished_template(template, tmp_path_factory) -> Path:
    """A toy project that `dvc repro` has run."""
    project = tmp_path_factory.mktemp("finished") / "toy"
    shutil.copytree(template, project)
    repro(project)
    return project


@pytest.fixture
def project(template, tmp_path, monkeypatch) -> Path:
    """A fresh toy project, as the working directory."""
    return _copy(template, tmp_path / "toy", monkeypatch)


@pytest.fixture
def finished(finished_template, tmp_path, monkeypatch) -> Path:
    """A toy project whose stages have all run, as the working directory."""
    return _copy(finished_template, tmp_path / "toy", monkeypatch)


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


def starts(project: Path, stage: str) -> int:
    """How often the command of ``stage`` was started."""
    file = project / f"starts-{stage}"
    return len(file.read_text().splitlines()) if file.exists() else 0
