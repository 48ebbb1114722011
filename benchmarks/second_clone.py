"""Two workers in two clones, with a DVC remote between them: does the second restore what the first has run?

Both workers know nothing of Prefect's server but its address and password, and each has a home of its own.
``python -m benchmarks.second_clone`` takes the embedded images at the small setting of configs/small.yaml, and ends
with one line of JSON: how many stages the second clone executed and how many it restored, the paths of outputs that
are not the same bytes in both, and the seconds of both runs.
"""

import argparse
import json
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks.scratch import ROOT, copy_project, differing, environment
from pipeline_lib.core.progress import say

TIMEOUT = 1800  # seconds, for the run of a worker
SERVER = """
import sys
from flows.server.start import _free_port, served
with served(_free_port()) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def main() -> None:
    """Measure, print the line, and exit with 1 if the second clone executed a stage or its outputs differ."""
    # A program that a shell starts in the background ignores SIGINT, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=ROOT / "configs/small.yaml", help="the setting to run")
    params = parser.parse_args().params
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(Path(temporary), params)
    print(json.dumps(found))
    raise SystemExit(bool(found["executed"] or found["differing"]))


def measure(folder: Path, params: Path) -> dict[str, Any]:
    """Run both workers in ``folder``, one after the other, and return the result."""
    first, second = _clones(folder, params)
    password = f"graftline:{secrets.token_hex(16)}"
    (folder / "server").mkdir()
    secret = {"PREFECT_SERVER_API_AUTH_STRING": password, "PREFECT_API_AUTH_STRING": password}
    say("starting a server with a password")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=ROOT,
        env={**_without_prefect(folder / "server"), **secret, "PREFECT_HOME": str(folder / "server/prefect")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = next(line.strip() for line in server.stdout or () if line.startswith("http"))
        known = {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": password}
        environments = []
        for clone in (first, second):
            home = folder / f"{clone.name}-home"
            home.mkdir()
            environments.append({**_without_prefect(home), **known})
        _prefect("work-pool", "create", "graftline", "--type", "process", cwd=first, env=environments[0])
        _prefect("--no-prompt", "deploy", "--name", "here", cwd=first, env=environments[0])
        runs = [_work(clone, env) for clone, env in zip((first, second), environments, strict=True)]
    finally:
        server.communicate("")
    counts = runs[1]["states"]
    return {
        "executed": counts["Completed"],
        "restored": counts["Restored"],
        "first_executed": runs[0]["states"]["Completed"],
        "differing": differing(first, second),
        "seconds": [run["seconds"] for run in runs],
    }


def _clones(folder: Path, params: Path) -> tuple[Path, Path]:
    """Make a project that is committed, with a remote, and a clone of it."""
    first, second = copy_project(folder / "first", params), folder / "second"
    git = ["git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    (first / "prefect.yaml").write_bytes((ROOT / "prefect.yaml").read_bytes())
    remote = [sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "shared", str(folder / "remote")]
    subprocess.run(remote, cwd=first, env=environment(first), check=True)
    subprocess.run([*git, "add", "-A"], cwd=first, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "benchmark"], cwd=first, check=True)
    subprocess.run([*git, "clone", "-q", str(first), str(second)], check=True)
    return first, second


def _without_prefect(home: Path) -> dict[str, str]:
    """Return an environment with ``home``, in which nothing says where a Prefect server is."""
    kept = {name: value for name, value in environment(home).items() if not name.startswith("PREFECT_")}
    return {**kept, "HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def _prefect(*arguments: str, cwd: Path, env: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "prefect", *arguments], cwd=cwd, env=env, check=True, stdout=subprocess.DEVNULL
    )


def _work(clone: Path, env: dict[str, str]) -> dict[str, Any]:
    """Run a worker in ``clone`` for one run of its deployment; return the states of its stages and the seconds."""
    say(f"a worker in the {clone.name} clone")
    worker = subprocess.Popen(
        [sys.executable, "-m", "flows.server.worker"], cwd=clone, env=env, stdout=subprocess.DEVNULL
    )
    auth = httpx.BasicAuth(*env["PREFECT_API_AUTH_STRING"].split(":"))
    began = time.monotonic()
    try:
        with httpx.Client(base_url=env["PREFECT_API_URL"], auth=auth, timeout=60) as client:
            deployment = client.get("/deployments/name/transfer/here").raise_for_status().json()["id"]
            asked = client.post(f"/deployments/{deployment}/create_flow_run", json={"parameters": {"remote": True}})
            run = asked.raise_for_status().json()["id"]
            state = _end(client, run)
            chosen = {"flow_runs": {"id": {"any_": [run]}}}
            tasks = client.post("/task_runs/filter", json=chosen).raise_for_status().json()
    finally:
        worker.send_signal(signal.SIGINT)
        worker.wait(120)
    if state["type"] != "COMPLETED":
        raise SystemExit(f"error: the run in the {clone.name} clone ended {state['name']}: {state['message']}")
    return {"states": Counter(task["state_name"] for task in tasks), "seconds": round(time.monotonic() - began, 1)}


def _end(client: httpx.Client, run: str) -> dict[str, Any]:
    """Wait for the end of a flow run, and return its last state."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        # The server answers 503 while its database is busy, and asks to be asked again.
        answer = client.get(f"/flow_runs/{run}")
        state: dict[str, Any] = answer.json()["state"] if answer.is_success else {"type": "BUSY"}
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return state
        time.sleep(1)
    raise SystemExit(f"error: the run did not end within {TIMEOUT} s")


if __name__ == "__main__":
    main()
