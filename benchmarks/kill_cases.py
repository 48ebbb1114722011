"""The cases of benchmarks.kill_matrix other than signals.

Each starts a run in a project, disturbs it and waits for its end. It returns what is worth a place in the table, and
under ``expected`` the state in which the server has to show the run, None where it does not know of it.
"""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import httpx

from benchmarks.kill_project import Project, Server, wait_for
from benchmarks.scratch import ROOT
from flows.machine import child
from flows.server.settings import auth
from flows.server.start import _free_port, answers


def signalled(project: Project, server: Server, number: int, target: str, moment: str) -> dict[str, Any]:
    """Send a signal to a process of a run, and let what is left of the run end."""
    # A stage is over when DVC saves what it left: its own last moment is when it writes.
    at = "writing" if (target, moment) == ("stage", "saving") else "ending" if moment == "saving" else moment
    flow = project.start(server.url, hold=at)
    processes = project.wait_held(at)
    if at == "ending":
        project.release()
        wait_for(lambda: not processes["stage"].is_running(), "the end of the stage")
    hit = processes[target].is_running()
    processes[target].send_signal(number)
    project.release()
    row = {"exit_code": project.wait(flow), "hit": hit}
    return {**row, "expected": "Crashed"} if target == "flow" else row


def nightly(project: Project, server: Server) -> dict[str, Any]:
    """Kill a nightly run while DVC writes its record, and let the next one begin as the deployment does."""
    project.enter_worktree()
    row = signalled(project, server, signal.SIGKILL, "flow", "middle")
    (project.folder / "dvc.lock").write_text("schema: '2.0'\nstages:\n  be")
    project.enter_worktree()
    return row


def sweep(project: Project, server: Server, number: int) -> dict[str, Any]:
    """Send a signal to a sweep of two combinations in the middle of a stage, and start it again."""
    command = ("flows.sweep.cli", "--name", "trial", "--set", "seed=0,1", "--metric", "out/after.json:letters")
    first = project.start(server.url, "middle", *command)
    flow = project.wait_held("middle")["flow"]
    hit = flow.is_running()
    flow.send_signal(number)
    project.release()
    code = project.wait(first)
    assert not (left := project.left()), f"{left} run on"
    assert project.wait(project.start(server.url, "", *command)) == 0, project.log()
    assert project.beginnings().count(0) == 2, "what was killed after a checkpoint started over"
    assert project.final_states(server) == ["Crashed", "Completed"]
    saved = ["git", "for-each-ref", "--format=%(refname)", "refs/exps"]
    refs = subprocess.run(saved, cwd=project.folder, capture_output=True, text=True, check=True).stdout.split()
    assert sum("/trial-" in ref for ref in refs) == 2, refs
    return {"exit_code": code, "hit": hit, "expected": None}


def cancelled(project: Project, server: Server) -> dict[str, Any]:
    """Cancel a run of a worker, with the server that `python -m flows.server.serve` starts."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    serve = project.start("", "middle", "flows.server.serve", "--port", str(port))
    find = f"{url}/deployments/filter"
    wait_for(lambda: answers(url) and httpx.post(find, json={}, auth=auth(), timeout=30).json(), "the deployment")
    (deployment,) = httpx.post(find, json={}, auth=auth(), timeout=30).json()
    run = httpx.post(f"{url}/deployments/{deployment['id']}/create_flow_run", json={}, auth=auth(), timeout=30).json()
    flow = project.wait_held("middle")["flow"]
    command = [sys.executable, "-m", "prefect", "flow-run", "cancel", run["id"]]
    subprocess.run(command, env={**os.environ, "PREFECT_API_URL": url}, check=True, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    wait_for(lambda: not project.is_of_run(flow), "the end of the flow")
    seconds = round(time.monotonic() - began, 1)

    def state() -> Any:
        return httpx.get(f"{url}/flow_runs/{run['id']}", auth=auth(), timeout=30).json()["state_type"]

    wait_for(lambda: state() == "CANCELLED", "the state")
    project.release()
    serve.send_signal(signal.SIGINT)
    # Its own server, which has gone, knows of the first run.
    return {"exit_code": project.wait(serve), "cancelled_after_s": seconds, "expected": None}


def zombie(project: Project, server: Server) -> dict[str, Any]:
    """Kill a run, and wait until the server finds out by itself."""
    _watch(project, server)
    flow = project.start(server.url, "middle")
    project.wait_held("middle")["flow"].kill()
    began = time.monotonic()
    code = project.wait(flow)
    wait_for(lambda: server.new_runs()[0]["state_name"] == "Crashed", "the state Crashed")
    return {"exit_code": code, "expected": "Crashed", "crashed_after_s": round(time.monotonic() - began, 1)}


def _watch(project: Project, server: Server) -> None:
    """Watch the server as every worker does."""
    variables = {"PREFECT_API_URL": server.url, "PYTHONPATH": str(ROOT)}
    watcher = child.start("flows.server.liveness", cwd=project.folder, environment=variables)
    project.beside.add(watcher.pid)
    project.stack.callback(child.stop, watcher)


def long(project: Project, server: Server) -> dict[str, Any]:
    """Let a stage take much longer than the server waits for a sign of life."""
    _watch(project, server)
    flow = project.start(server.url, "middle")
    project.wait_held("middle")
    time.sleep(150)
    project.release()
    return {"exit_code": project.wait(flow)}


def server_lost(project: Project, server: Server, restart: bool) -> dict[str, Any]:
    """Kill the server in the middle of a run; it comes back in the run, or only after it."""
    flow = project.start(server.url, "middle")
    project.wait_held("middle")
    server.kill()
    if restart:
        server.start()
    project.release()
    code = project.wait(flow)
    if not restart:
        server.start()
        assert "was lost" in project.log(), project.log()
    assert code == 0, project.log()
    return {"exit_code": code}


def server_unknown(project: Project, server: Server) -> dict[str, Any]:
    """Run with an address at which there is no server."""
    flow = project.start(f"http://127.0.0.1:{_free_port()}/api")
    code = project.wait(flow)
    assert code == 0, project.log()
    assert "own server records this run instead" in project.log(), project.log()
    return {"exit_code": code, "expected": None}


def full_disk(project: Project, server: Server, megabytes: int) -> dict[str, Any]:
    """Run on a disk of ``megabytes`` MB, which then grows."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "graftline", str(project.folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        return {"skipped": "a small disk can only be mounted by root, on Linux"}
    project.stack.callback(subprocess.run, ["umount", "--lazy", str(project.folder)], check=True)
    project.fill()
    code = project.wait(project.start(server.url))
    sentence = project.log().splitlines()[-1]
    assert sentence.startswith("error: the disk of "), project.log()
    subprocess.run(["mount", "-o", "remount,size=300m", str(project.folder)], check=True)
    return {"exit_code": code, "sentence": sentence, "expected": "Refused"}
