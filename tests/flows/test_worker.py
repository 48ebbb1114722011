import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

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
    worker = subprocess.Popen([sys.executable, "-m", "flows.server.worker", "--pool", "elsewhere"], env=environment)
    prefect("deployment", "run", f"transfer/{there}")
    wait_for(lambda: starts(finished, "left") > already, 120)
    stage = psutil.Process(int(Path("starts-left").read_text().splitlines()[-1]))
    children = [stage, *psutil.Process(worker.pid).children(recursive=True)]
    assert len(children) >= 3, "the flow, DVC and the stage"
    worker.send_signal(number)
    worker.wait(90)
    ended(children)
