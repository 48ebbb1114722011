import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.repo.restore import restore
from tests.flows.conftest import ROOT, depend, edit, repro, starts, wait_for

GUARDED = """
import os, sys
from tasks.stage import main

def body(stage):
    stage.output("out/left.txt").write_text(str(stage.params.heads.epochs))
    stage.checkpoints.mkdir(parents=True, exist_ok=True)
    if stage.params.heads.epochs > 1:
        with open("filler", "wb") as file:
            while True:
                file.write(bytes(2**16))
                file.flush()

main("left", body)
"""


def start(project, *arguments):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "flows.repo.repro", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=project, env=environment, **pipes)


def run(project, *arguments):
    process = start(project, *arguments)
    out, error = process.communicate(timeout=100)
    return process.returncode, out, error


def test_it_does_what_dvc_repro_does(project, finished_template):
    code, out, error = run(project)
    assert (code, error) == (0, "")
    assert "Running stage 'join':" in out
    assert (project / "dvc.lock").read_bytes() == (finished_template / "dvc.lock").read_bytes()
    assert "Data and pipelines are up to date." in run(project)[1]
    assert not list((project / ".graftline").glob("checkpoints/*/*"))


@pytest.mark.parametrize(
    ("command", "code", "last"),
    [
        ("echo 'error: no label x: name another' >&2; exit 2", 2, "error: no label x: name another"),
        ("echo 'ValueError: no' >&2; exit 1", 1, "error: join crashed with exit code 1"),
        ("kill -9 $$", 1, "error: join was killed by SIGKILL"),
        ("rm -f out/join.txt", 1, "error: DVC could not run 'join': output 'out/join.txt' does not exist"),
    ],
)  # fmt: skip
def test_the_last_line_is_a_sentence_and_the_outputs_are_back(finished, command, code, last):
    before = (finished / "out/join.txt").read_bytes()
    edit(finished, "python toy.py join", json.dumps(command), "dvc.yaml")
    found, _, error = run(finished)
    assert (found, error.splitlines()[-1]) == (code, last)
    assert "ERROR" not in error
    assert (finished / "out/join.txt").read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda project: (project / "dvc.yaml").write_text(""), "error: dvc.yaml is empty"),
        (lambda project: (project / "params.yaml").write_bytes(b"\xff"), "error: params.yaml, line 1: not UTF-8"),
        (lambda project: depend(project, "no/images"), "error: DVC could not run 'start': [Errno 2] No such file"),
        (lambda project: depend(project, "out/join.txt"), "error: DVC could not run the pipeline: "),
        (lambda project: os.mkfifo(project / "pipe") or depend(project, "pipe"), "error: pipe is a named pipe"),
    ],
)
def test_what_dvc_refuses_is_one_line(finished, damage, sentence):
    damage(finished)
    code, _, error = run(finished)
    assert code in (1, 2)
    assert error.startswith(sentence)
    assert error.count("\n") == 1


def test_a_target_may_be_named(project):
    assert run(project, "alone")[0] == 0
    assert starts(project, "alone") == 1
    assert starts(project, "start") == 0


def test_ctrl_c_ends_it_with_the_stage(finished):
    edit(finished, "title: toy", "title: other")
    (finished / "told-join").write_text("wait")
    before = (finished / "out/join.txt").read_bytes()
    process = start(finished)
    wait_for(lambda: starts(finished, "join") > 1, 60)
    stage = int((finished / "starts-join").read_text().splitlines()[-1])
    os.kill(stage, signal.SIGINT)  # a terminal tells all of its processes
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert (finished / "out/join.txt").read_bytes() == before


def test_only_what_is_missing_is_brought_back(finished):
    (finished / "out/join.txt").write_text("mine")
    (finished / "metrics/join.json").unlink()
    restore("join")
    assert (finished / "out/join.txt").read_text() == "mine"
    assert (finished / "metrics/join.json").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 24 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("to make a small disk takes root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_loses_no_output(small_disk, template, monkeypatch):
    project = small_disk / "toy"
    subprocess.run(["cp", "-r", str(template), str(project)], check=True)
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (project / "guarded.py").write_text(GUARDED)
    edit(project, "cmd: python toy.py left", "cmd: python guarded.py", "dvc.yaml")
    repro(project)
    edit(project, "epochs: 1", "epochs: 2")
    code, _, error = run(project)
    assert (code, error) == (2, f"error: the disk of {project} is full: free some space and run again, "
                                "and 'left' goes on\n")  # fmt: skip
    assert (project / "out/left.txt").read_text() == "1"
    assert not list(project.glob("out/.*.partial"))
    (project / "filler").unlink()
    edit(project, "epochs: 2", "epochs: 1")
    assert "Stage 'left' didn't change" in run(project)[1]
