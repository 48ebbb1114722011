import json
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from prefect import get_client
from prefect.events import emit_event
from prefect.states import Failed, Running

from benchmarks.kill_matrix import FAULTS, cases, measure, summary
from flows.machine import child
from flows.machine.lock import hold
from flows.pipeline import LOCK_FILE, deliver, transfer
from flows.repo.run import run_stage
from flows.server import killed
from flows.server import liveness as watch
from flows.server import offline as lost
from flows.server import start as server
from flows.server.killed import claim, named
from flows.server.settings import auth
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import edit, ended, starts, wait_for
from tests.flows.test_transfer import flow_process


def ignore(_):
    pass


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_is_lost_wherever_and_however_a_run_is_killed():
    rows = list(measure(list(cases())))
    counts = summary(rows)
    assert not any(counts[fault] for fault in FAULTS), rows


def first_stage_of(project: Path, stage: str) -> psutil.Process:
    wait_for(lambda: starts(project, stage) > 1, 60)
    return psutil.Process(int((project / f"starts-{stage}").read_text().splitlines()[-1]))


def test_the_command_of_a_killed_dvc_is_ended(finished):
    # The toy's stages do not look after their parents, as a user's own programs do not.
    edit(finished, "title: toy", "title: other")
    (finished / "told-join").write_text("wait")
    results = []
    thread = threading.Thread(target=lambda: results.append(run_stage("join", ignore, ignore)))
    thread.start()
    stage = first_stage_of(finished, "join")
    # A shell may be between the two.
    next(above for above in stage.parents() if "dvc" in above.cmdline()).kill()
    thread.join(40)
    assert results[0].failure == "crash"
    assert results[0].error == "DVC was killed by SIGKILL while it worked on 'join'"
    ended([stage])


@pytest.mark.parametrize("command", ["python toy.py join; true", "trap '' TERM; python toy.py join; sleep 60"])
def test_a_stage_is_ended_with_its_killed_run_politely_or_not(finished, command):
    # A shell stays between DVC and the program; in the second one, both do not listen.
    edit(finished, "python toy.py join", json.dumps(command), "dvc.yaml")
    (finished / "told-join").write_text("wait")
    code = "from flows.repo.run import run_stage; run_stage('join', print, print)"
    flow = psutil.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    first_stage_of(finished, "join")
    children = flow.children(recursive=True)
    assert len(children) >= 2, "DVC and the command"
    flow.kill()
    flow.wait()
    ended(children)


def test_sessions_are_stopped_all_at_once():
    # Each takes its time to end, and they end side by side.
    lines = ["import signal, sys, time", "signal.signal(15, lambda *_: (time.sleep(3), sys.exit()))"]
    lines += ["print(1, flush=True)", "time.sleep(60)"]
    children = [child.start("timeit", "-n1", "-r1", *lines, stdout=subprocess.PIPE) for _ in range(4)]
    for process in children:
        process.stdout.readline()
    began = time.monotonic()
    child.stop(*children)
    assert time.monotonic() - began < 11
    assert all(process.poll() is not None for process in children)


def test_a_full_disk_is_one_sentence_and_not_tried_again(finished):
    edit(finished, "python toy.py left", "python toy.py left > /dev/full", "dvc.yaml")
    result = run_stage("left", ignore, ignore)
    assert result.failure == "mistake"
    assert result.error == f"the disk of {finished} is full: free some space and run again, and 'left' goes on"


def run_shown(run_id):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id)


def test_a_killed_run_is_shown_as_crashed_by_the_next_one(api, finished):
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(transfer, state=Running())
        data = {"flow_run_id": str(run.id), "task_key": "left", "dynamic_key": "0", "state": {"type": "RUNNING"}}
        task = httpx.post(f"{api}/task_runs/", json=data, timeout=30, auth=auth()).json()
    with hold(LOCK_FILE, "taken") as file:
        json.dump({"run": str(run.id), "ended": None}, file)
    assert transfer(return_state=True).is_completed()
    assert run_shown(run.id).state.name == "Crashed"
    with get_client(sync_client=True) as client:
        assert client.read_task_run(task["id"]).state.name == "Crashed"
    assert LOCK_FILE.read_text() == ""


def test_only_a_run_of_this_project_that_was_silent_for_longer_than_it_may_is_taken_for_killed(api, monkeypatch):
    labels = {
        "quiet": {},
        "beating": {},
        "never heard": {},
        "of others": {watch.PROJECT: "other-123456"},
        "with few signs of life": {watch.SILENCE: 540},
    }
    with get_client(sync_client=True) as client:
        # All of flows with the same name, as other projects on the server have.
        runs = {name: client.create_flow_run(transfer, state=Running()).id for name in [*labels, "unclaimed"]}
        for name, more in labels.items():
            claim(runs[name])
            client.update_flow_run_labels(runs[name], more)
    for name in [*labels, "unclaimed"]:
        if name != "never heard":
            resource = {"prefect.resource.id": f"prefect.flow-run.{runs[name]}"}
            emit_event("prefect.flow-run.heartbeat", resource=resource)
    deliver()
    with httpx.Client(base_url=api, timeout=30, auth=auth()) as client:
        created = "2020-01-01T00:00Z"
        heard = [
            wait_for(lambda run=run: watch._last_heard(client, {"id": run, "created": created}), 30)
            for name, run in runs.items()
            if name != "never heard"
        ]
        assert all(abs(last.timestamp() - time.time()) < 60 for last in heard)
        last_heard = watch._last_heard

        def earlier(client, run):
            last = last_heard(client, run)
            return last - timedelta(seconds=200) if last and run["id"] != str(runs["beating"]) else last

        monkeypatch.setattr(watch, "_last_heard", earlier)
        assert watch.silent_runs(client) == {str(runs["quiet"]): 90}
        for run in runs.values():
            client.post(f"/flow_runs/{run}/set_state", json={"state": {"type": "CANCELLED"}, "force": True})
        assert watch.silent_runs(client) == {}


def test_a_watcher_whose_password_is_no_longer_taken_ends(api):
    with (
        httpx.Client(base_url=api, timeout=30, auth=("graftline", "earlier")) as client,
        pytest.raises(UserError, match=r"^the server at .* no longer takes the password"),
    ):
        watch.watch(client)


def test_a_killed_flow_leaves_its_name(api, finished):
    edit(finished, "epochs: 1", "epochs: 2")
    (finished / "told-left").write_text("wait")
    process = flow_process(api)
    wait_for(lambda: starts(finished, "left") > 1, 60)
    run_id = json.loads(LOCK_FILE.read_text())["run"]
    process.kill()
    process.communicate(timeout=30)
    (finished / "told-left").unlink()
    assert run_shown(run_id).state.name == "Running"
    assert transfer(return_state=True).is_completed()
    assert run_shown(run_id).state.name == "Crashed"


def test_what_a_lost_server_missed_is_told_to_it_later(api, finished, monkeypatch):
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(transfer, state=Running())
    with hold(LOCK_FILE, "taken") as file:
        monkeypatch.setattr(killed, "missing", lambda: True)
        with named(file, run.id):
            lost.keep(Failed(name="Refused", message="mend it"))
        monkeypatch.undo()
        with named(file, run.id):
            pass
    assert run_shown(run.id).state.name == "Refused"
    assert run_shown(run.id).state.message == "mend it"


def test_a_server_that_does_not_answer_is_waited_for_once_only(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(lost, "answers", lambda url: asked.append(url))
    monkeypatch.setitem(lost._missed, "at", -float("inf"))
    monkeypatch.setitem(lost._missed, "told", False)
    for _ in range(20):
        assert lost.told(lambda: pytest.fail("it was told")) is None
    assert len(asked) == 1
    assert capsys.readouterr().out.count("does not answer: the run goes on") == 1
    monkeypatch.setitem(lost._missed, "at", -float("inf"))
    monkeypatch.setattr(lost, "answers", lambda url: True)
    assert lost.told(lambda: 3) == 3


@pytest.mark.timeout(600)
def test_a_server_with_a_password_records_the_run(finished, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_SERVER_API_AUTH_STRING": "me:secret"}
    code = (
        "from flows.server.start import served\n"
        f"with served({server._free_port()}) as url: print(url, flush=True), input()"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        url = process.stdout.readline().strip()
        assert httpx.post(f"{url}/flow_runs/filter", json={}).status_code == 401
        run = [sys.executable, "-m", "flows.pipeline"]
        # The project's own server is found by PREFECT_HOME, and the password is known.
        subprocess.run(run, env=environment, check=True, timeout=120)
        runs = httpx.post(f"{url}/flow_runs/filter", json={}, auth=("me", "secret")).json()
        assert [run["state_type"] for run in runs] == ["COMPLETED"]
        # Someone who does not know it is told so, once.
        stranger = {**environment, "PREFECT_HOME": str(tmp_path / "elsewhere"), "PREFECT_API_URL": url}
        del stranger["PREFECT_SERVER_API_AUTH_STRING"]
        for given, sentence in ({}, "asks for a password: set"), ({"PREFECT_API_AUTH_STRING": "me:x"}, "does not take"):
            told = subprocess.run(run, env=stranger | given, capture_output=True, text=True, timeout=120)
            assert (told.returncode, told.stderr.count("\n")) == (2, 1), told.stderr
            assert sentence in told.stderr
        process.communicate("\n", timeout=60)
