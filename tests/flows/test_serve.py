import socket
import subprocess

import httpx
import psutil
import pytest

from flows.server import settings
from flows.server import start as server
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import wait_for


@pytest.fixture
def client(api):
    with httpx.Client(base_url=api, timeout=30, auth=settings.auth()) as client:
        yield client


def deployment(client, name):
    """The deployment of the served project, which appears a little after the server."""
    path = f"/deployments/name/transfer/{name}"
    return wait_for(lambda: (answer := client.get(path)).is_success and answer.json(), 60)


def test_the_schedule_of_prefect_yaml_makes_runs(client):
    # Prefect's scheduler fails silently with a release of SQLAlchemy that is newer than it knows.
    found = deployment(client, "nightly")
    chosen = {"flow_runs": {"deployment_id": {"any_": [found["id"]]}, "state": {"type": {"any_": ["SCHEDULED"]}}}}
    assert wait_for(lambda: client.post("/flow_runs/filter", json=chosen).json(), 60)


def run(client, name):
    """Ask for a run of the deployment ``name``, as the UI does, and wait until it is complete."""
    path = f"/deployments/{deployment(client, name)['id']}/create_flow_run"
    # The server answers 503 while its database is busy, and asks to be asked again.
    made = wait_for(lambda: (answer := client.post(path, json={})).is_success and answer.json(), 30)

    def ended():
        found = client.get(f"/flow_runs/{made['id']}").json()
        return found.get("state_type") in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") and found

    found = wait_for(ended, 120)
    assert found["state_type"] == "COMPLETED", found["state"]["message"]
    return found


def test_a_run_can_be_started_from_the_ui(client):
    assert run(client, "here")["state"]["message"] == "5 cached"


def test_a_nightly_run_is_of_what_is_committed(client, served):
    _, project, _ = served
    params = project / "params.yaml"
    before = params.read_text()
    params.write_text("an edit that nobody could run")
    try:
        found = run(client, "nightly")
    finally:
        params.write_text(before)
    assert found["state"]["message"] == "5 restored"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True)
    recorded = next(tag for tag in found["tags"] if commit.stdout.startswith(tag))
    assert found["name"].endswith(recorded), "without +edits"
    worktree = project / ".graftline/worktrees/nightly"
    assert (worktree / "out/join.txt").read_bytes() == (project / "out/join.txt").read_bytes()
    assert not list(worktree.glob("starts-*")), "nothing was executed"


def test_the_ui_is_served_on_this_machine_only(served):
    process, _, address = served
    assert "<title>" in httpx.get(address, follow_redirects=True).text
    assert httpx.get(f"{address}/ui-settings").json()["api_url"] == "/api"
    tree = psutil.Process(process.pid).children(recursive=True)
    assert {at.laddr.ip for child in tree for at in child.net_connections() if at.status == "LISTEN"} == {"127.0.0.1"}


def test_a_run_finds_the_server_and_so_does_a_second_one(served, monkeypatch):
    _, project, address = served
    monkeypatch.setenv("PREFECT_HOME", str(project / ".graftline/prefect"))
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    settings.apply()
    with server.api() as found:
        assert found == f"{address}/api"
    with pytest.raises(UserError, match=f"is up already, at {address}$"), server.served(server._free_port()):
        pass


def test_the_link_holds_the_password_where_no_server_is_told_it(served, monkeypatch):
    _, project, address = served
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:a b#c")
    assert server.entrance(f"{address}/api") == f"{address}/enter#me:a%20b%23c"
    monkeypatch.delenv("PREFECT_API_AUTH_STRING")
    assert not (project / ".graftline/prefect/server.log").read_text().count("enter")


def test_a_name_that_is_not_of_this_machine_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"^'no\.such\.host\.invalid' is no name or address of this machine"):
        server._refuse_busy("no.such.host.invalid", 4200)


def test_a_port_in_use_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"^port {port} is in use: .* --port {port + 1}$"), server.served(port):
            pass
    assert settings.own_address() is None
