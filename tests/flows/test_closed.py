import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from benchmarks.attack import Target, by_another_user
from benchmarks.browser import BROWSER, OPTIONS, dumped
from flows.server import settings
from flows.server.serve import make_pool
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import ROOT, wait_for


@pytest.fixture(scope="session")
def target(served, api, tmp_path_factory) -> Target:
    """What strangers attack: the served project, once its deployment is there."""
    _, _, address = served
    wait_for(lambda: httpx.get(f"{api}/deployments/name/transfer/here", auth=settings.auth()).is_success, 60)
    return Target(address, os.environ["PREFECT_API_AUTH_STRING"], tmp_path_factory.mktemp("target"))


def test_strangers_are_refused_and_the_owner_is_not(target):
    tried = {**target.by_requests(), **target.by_sockets()}
    assert [name for name, succeeded in tried.items() if succeeded] == []
    assert len(tried) > 50
    # What refuses them is not that the server is out of order.
    for headers in ({}, {"Origin": target.address}):
        assert target.owner.post("/deployments/filter", json={}, headers=headers).is_success
    assert target.lets_in("events/out", None, target.password)
    assert target.lets_in("events/out", target.address, target.password)


@pytest.mark.skipif(not BROWSER, reason="there is no Chromium here")
def test_a_page_of_another_origin_gets_nowhere(target):
    tried = target.by_pages(BROWSER)
    assert [name for name, succeeded in tried.items() if succeeded] == []
    assert len(tried) > 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_of_the_machine_cannot_read_the_password(target, served):
    _, project, _ = served
    home = project / ".graftline/prefect"
    for folder in home.parents:  # pytest's own folders are closed to others
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    assert not any(by_another_user(home).values())
    readable = subprocess.run(["cat", project / "params.yaml"], user=65534, check=False, capture_output=True)
    assert readable.returncode == 0, "only what is closed is closed"


@pytest.mark.parametrize("port", ["", ":4300"])
def test_a_tunnel_from_another_port_is_no_other_origin(target, port):
    # ssh -L 4300:localhost:4200
    headers = {"Host": f"localhost{port}", "Origin": f"http://localhost{port}"}
    assert target.owner.post("/deployments/filter", json={}, headers=headers).is_success


def test_the_pages_beside_the_ui_hold_nothing_and_allow_nothing(target):
    for page in ("/enter", "/report/00000000-0000-0000-0000-000000000000"):
        answer = httpx.get(target.address + page)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert target.password.partition(":")[2] not in answer.text
    assert httpx.get(f"{target.address}/report/..%2Fpassword").status_code == 404


@pytest.mark.skipif(not BROWSER, reason="there is no Chromium here")
def test_who_came_by_the_link_sees_a_report_whose_scripts_cannot_read_the_password(target, served, tmp_path):
    _, project, _ = served
    run = "11111111-2222-4333-8444-555555555555"
    script = "try { console.log('reads ' + localStorage.length) } catch { console.log('cannot read') }"
    (project / f".graftline/prefect/reports/{run}.html").write_text(f"<script>{script}</script>")
    profile, page = str(tmp_path / "profile"), f"{target.address}/report/{run}"
    assert "Open the UI by the link" in dumped(BROWSER, profile, page)
    dumped(BROWSER, profile, f"{target.address}/enter#{target.password}")

    def told():
        options = [*OPTIONS, f"--user-data-dir={profile}", "--enable-logging=stderr", "--log-level=0", "--dump-dom"]
        return subprocess.run([BROWSER, *options, page], capture_output=True, text=True, timeout=120).stderr

    # Chromium may leave before the frame has run.
    wait_for(lambda: "cannot read" in told(), 60)


def test_a_run_may_choose_nothing_of_how_it_is_executed(target):
    # A pool that an earlier release, or Prefect itself, has made, is closed too.
    variables = {"properties": {"command": {"type": "string"}}}
    before = {"variables": variables, "job_configuration": {"command": "{{ command }}"}}
    assert target.owner.patch("/work_pools/graftline", json={"base_job_template": before}).is_success
    make_pool()
    for chosen in ({"command": "true"}, {"env": {"PATH": "/tmp"}}, {"env.PATH": "/tmp"}, {"working_dir": "/tmp"}):
        answer = target.owner.post(target.address + target.create, json={"job_variables": chosen})
        assert answer.status_code == 422, chosen


def environment_of(folder: Path, **given: str) -> dict[str, str]:
    """What `import flows` leaves in the environment of a command in the project ``folder``."""
    (folder / "dvc.yaml").touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-c", "import json, os, flows; print(json.dumps(dict(os.environ)))"]
    variables = {**kept, **given, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def test_a_project_draws_one_password_and_keeps_it_to_its_owner(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    drawn = [environment_of(folder)["PREFECT_API_AUTH_STRING"] for folder in (first, first, second)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert environment_of(first)["PREFECT_SERVER_API_AUTH_STRING"] == drawn[0]
    home = first / ".graftline/prefect"
    assert (home.stat().st_mode & 0o777, (home / "password").stat().st_mode & 0o777) == (0o700, 0o600)
    assert [file.name for file in home.iterdir()] == ["password"]
    # Whoever could read it may have done so.
    home.chmod(0o755)
    (home / "password").chmod(0o644)
    assert environment_of(first)["PREFECT_API_AUTH_STRING"] != drawn[0]
    assert (home.stat().st_mode & 0o777, (home / "password").stat().st_mode & 0o777) == (0o700, 0o600)


def test_another_server_is_never_told_the_password(tmp_path):
    environment_of(tmp_path)
    address = tmp_path / ".graftline/prefect/server.url"
    address.write_text("http://127.0.0.1:9/api")  # left behind: nobody holds it
    for given in ({"PREFECT_API_URL": "http://other:4200/api"}, {"PREFECT_API_URL": "http://127.0.0.1:9/api"}):
        assert not {name for name in environment_of(tmp_path, **given) if name.endswith("AUTH_STRING")}
        theirs = environment_of(tmp_path, **given, PREFECT_API_AUTH_STRING="me:mine")
        assert theirs["PREFECT_API_AUTH_STRING"] == "me:mine"


def test_the_password_of_the_own_server_is_known_when_its_address_is_given(served):
    _, project, address = served
    kept = f"graftline:{(project / '.graftline/prefect/password').read_text()}"
    assert environment_of(project, PREFECT_API_URL=f"{address}/api")["PREFECT_API_AUTH_STRING"] == kept


def test_a_password_of_the_users_own_is_taken(tmp_path):
    told = environment_of(tmp_path, PREFECT_SERVER_API_AUTH_STRING="me:mine", PREFECT_API_AUTH_STRING="me:elsewhere")
    assert told["PREFECT_API_AUTH_STRING"] == "me:mine"
    assert not (tmp_path / ".graftline/prefect/password").exists()


def test_a_disk_on_which_nothing_is_private_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr(settings, "_is_private", lambda _: False)
    with pytest.raises(UserError, match=r"everybody can read .*/password: let PREFECT_HOME name"):
        settings.password()


def test_a_project_has_a_name_of_its_own(tmp_path, monkeypatch):
    names = []
    for folder in ("one/My Project!", "two/My Project!", "one/My Project!/.graftline/worktrees/nightly"):
        (tmp_path / folder).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / folder)
        names.append(settings.project())
    first, second, worktree = names
    assert first.startswith("my-project-")
    assert first == worktree != second


HANGS = """
import asyncio, uvicorn
from flows.server import app
app.GRACE_SECONDS = 0.5

async def hangs(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    while not server.started:
        await asyncio.sleep(0.01)
    print("up", flush=True)
    await asyncio.Event().wait()

server = app._Server(uvicorn.Config(hangs, port=0, log_level="critical"))
server.run()
"""


def test_a_server_that_hangs_at_its_end_ends_all_the_same(tmp_path):
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", HANGS], cwd=tmp_path, env=variables, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(30) == 1
    finally:
        process.kill()
