import json
import os
import subprocess
import sys
from uuid import UUID, uuid4

import pytest
from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Crashed

from flows.sweep import away
from flows.sweep.away import deploy, run_away
from flows.sweep.cli import main
from flows.sweep.stage import Work
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import PARAMS, edit

WORK = Work("join", "0" * 40, PARAMS, ("out/join.txt",), None)


@pytest.fixture
def shared(api, finished):
    """A toy project that has run and is committed, with a remote of DVC."""
    command = [sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "shared", str(finished.parent / "remote")]
    subprocess.run(command, check=True)
    edit(finished, "title: toy", "title: shared")
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", "commit", "-q", "-m", "shared"], check=True)
    return finished


@pytest.fixture
def pool(shared):
    """A work pool that no worker takes runs of."""
    name = f"pool-{uuid4()}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    return name


def test_a_pool_without_a_remote_is_refused(api, finished):
    with pytest.raises(UserError, match="--pool needs a default remote of DVC"):
        deploy("graftline")


def test_a_pool_that_is_not_there_or_paused_is_refused(pool):
    with pytest.raises(UserError, match="no work pool 'nowhere'"):
        deploy("nowhere")
    with get_client(sync_client=True) as client:
        client.update_work_pool(pool, WorkPoolUpdate(is_paused=True))
    with pytest.raises(UserError, match=f"the work pool '{pool}' is paused"):
        deploy(pool)


def asked(client, deployment, digest, sweep="mine"):
    return away._ask(client, WORK, "join: one", digest, deployment, sweep)


def test_the_same_stage_is_asked_for_once_while_it_is_going_on(pool):
    deployment = deploy(pool)
    with get_client(sync_client=True) as client:
        first = asked(client, deployment, "same")
        assert asked(client, deployment, "same", "another").id == first.id
        assert asked(client, deployment, "other").id != first.id
        client.set_flow_run_state(first.id, Cancelled(), force=True)
        assert asked(client, deployment, "same").id != first.id, "a run that has ended does not stand for a result"


def test_a_sweep_that_is_stopped_cancels_its_own_runs_and_no_others(pool, monkeypatch):
    deployment = deploy(pool)
    monkeypatch.setattr(away, "stopping", lambda: True)
    with get_client(sync_client=True) as client:
        theirs, mine = asked(client, deployment, "theirs", "another"), asked(client, deployment, "mine")
        for digest in ("theirs", "mine"):
            with pytest.raises(InterruptedError):
                run_away(WORK, "join: one", digest, deployment, "mine", print)
        assert client.read_flow_run(theirs.id).state.is_scheduled()
        assert client.read_flow_run(mine.id).state.is_cancelled()


def test_a_stage_whose_worker_is_lost_is_asked_for_again(pool, monkeypatch):
    deployment, lines = deploy(pool), []

    def lose(client, run, log):
        client.set_flow_run_state(run.id, Crashed(message="it was killed"), force=True)
        return client.read_flow_run(run.id).state

    monkeypatch.setattr(away, "_wait", lose)
    state, record = run_away(WORK, "join: one", "lost", deployment, "mine", lines.append)
    assert (state.is_failed(), record) == (True, {})
    assert len(lines) == away.MOST_WORKERS_LOST
    assert "the worker was lost (it was killed)" in lines[0]


def test_a_sweep_runs_on_a_worker_elsewhere(pool, api, shared, tmp_path, monkeypatch, capfd):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(shared), str(clone)], check=True)
    (tmp_path / "starts").mkdir()
    monkeypatch.setenv("STARTS", str(tmp_path / "starts"))
    monkeypatch.setenv("PREFECT_API_URL", api)
    environment = {**os.environ, "PREFECT_WORKER_QUERY_SECONDS": "1", "HOME": str(tmp_path)}
    worker = subprocess.Popen([sys.executable, "-m", "flows.server.worker", "--pool", pool], cwd=clone, env=environment)
    try:
        command = ["sweep", "--set", "report.title=a,bcd", "--metric", "metrics/join.json:letters", "--name", "away"]
        monkeypatch.setattr(sys, "argv", [*command, "--pool", pool])
        with temporary_settings({PREFECT_API_URL: api}):
            main()
    finally:
        worker.terminate()
        worker.wait(60)
    counts = {file.name: len(file.read_text().splitlines()) for file in (tmp_path / "starts").iterdir()}
    assert counts == {f"starts-{stage}": 1 for stage in ("start", "left", "right", "alone")} | {"starts-join": 2}
    assert not (shared / ".graftline/worktrees").exists(), "nothing ran here"
    page = (shared / "reports/sweeps/away.html").read_text()
    assert "Best is report.title = bcd" in page
    shown = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    output = json.loads(subprocess.run(shown, capture_output=True, text=True, check=True).stdout)
    found = [one["revs"][0]["data"]["metrics"]["metrics/join.json"] for one in output[1]["experiments"]]
    assert len({one["data"]["letters"] for one in found}) == 2, "the metrics are here, though the results are not"


def test_the_form_refuses_a_mistyped_key_before_the_run(api, shared):
    environment = {**os.environ, "PREFECT_API_URL": api}
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--name", "sweep"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("sweep/sweep")
        fields = deployment.parameter_openapi_schema["properties"]
        assert all(field.get("description") for field in fields.values())
        given = {"metric": "metrics/join.json:letters", "slots": 1}
        for settings in ({"pretrain.metod": ["simclr"]}, {"seed": 1}, {}):
            with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
                client.create_flow_run_from_deployment(deployment.id, parameters={**given, "settings": settings})
        right = {**given, "settings": {"pretrain.method,seed": [["simclr", 0]]}}
        run = client.create_flow_run_from_deployment(deployment.id, parameters=right)
        client.set_flow_run_state(run.id, Cancelled(), force=True)
        assert isinstance(run.id, UUID)
