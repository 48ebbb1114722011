import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from flows.server import worker
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import edit, ended, starts, wait_for


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (None, "error: PREFECT_API_URL is not set"),
        ("http://127.0.0.1:9/api", "error: no Prefect server answers at http://127.0.0.1:9/api"),
    ],
)
def test_a_worker_without_a_server_is_refused(project, monkeypatch, url, sentence):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    if url:
        monkeypatch.setenv("PREFECT_API_URL", url)
    ended = subprocess.run([sys.executable, "-m", "flows.server.worker"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith(sentence)
    assert "Traceback" not in ended.stderr


def test_a_worker_whose_password_is_not_taken_says_so_once(api, project):
    for given, sentence in {"me:guessed": "does not take the password in", "": "asks for a password: set"}.items():
        environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": given}
        command = [sys.executable, "-m", "flows.server.worker"]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert (told.returncode, told.stderr.count("\n")) == (2, 1), told.stderr
        assert f"{sentence} PREFECT_API_AUTH_STRING" in told.stderr


@pytest.mark.parametrize(("mine", "refused"), [("2.20.1", True), ("3.7.9", True), ("3.8.0", False), ("4.0.0", True)])
def test_a_worker_of_another_version_than_the_server_is_refused(api, monkeypatch, mine, refused):
    monkeypatch.setenv("PREFECT_API_URL", api)
    monkeypatch.setattr(metadata, "version", lambda _: mine)
    if refused:
        with pytest.raises(UserError, match=rf"^this clone has Prefect {mine}, but the server at {api} has 3\.8\."):
            worker._refuse_unusable()
    else:
        worker._refuse_unusable()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_ends_leaves_no_run_behind(api, finished, number):
    there = f"there-{number}"  # each with a concurrency limit of its own
    edit(finished, "name: here", f"name: {there}", "prefect.yaml")
    settings = (finished / "prefect.yaml").read_text()
    (finished / "prefect.yaml").write_text(settings.replace("{name: graftline}", "{name: elsewhere}"))
    edit(finished, "epochs: 1", "epochs: 2")
    (finished / "told-left").write_text("wait")
    already = starts(finished, "left")
    environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_WORKER_QUERY_SECONDS": "1"}

    def prefect(*arguments):
        subprocess.run([sys.executable, "-m", "prefect", *arguments], env=environment, check=True, capture_output=True)

    prefect("work-pool", "create", "elsewhere", "--type", "process", "--overwrite")
    prefect("--no-prompt", "deploy", "--name", there)
    process = subprocess.Popen([sys.executable, "-m", "flows.server.worker", "--pool", "elsewhere"], env=environment)
    prefect("deployment", "run", f"transfer/{there}")
    wait_for(lambda: starts(finished, "left") > already, 120)
    stage = psutil.Process(int(Path("starts-left").read_text().splitlines()[-1]))
    children = [stage, *psutil.Process(process.pid).children(recursive=True)]
    assert len(children) >= 3, "the flow, DVC and the stage"
    process.send_signal(number)
    process.wait(90)
    ended(children)
