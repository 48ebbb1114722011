"""Try to command the machine through the server of `make ui`, or to read what it knows, as a stranger would.

``python -m benchmarks.attack`` starts `python -m flows.server.serve` in a copy of the project, with its worker.
Strangers are programs without the password, names that were made to point to this machine, pages of other origins, in
Python and in a headless Chromium, also such as have learned the password, and another user of the machine. It ends
with one line of JSON: how much was ``tried``, how much of it ``succeeded`` (it was carried out, or the answer could
be read), and whether the ``ui_works`` in the browser for who has its link. Without Chromium, ``browser`` is null and
its part is left out, and without root the other user's is.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from itertools import product
from pathlib import Path

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from benchmarks.browser import BROWSER, PAGE, dumped, served_page
from benchmarks.graphs import flow_environment
from benchmarks.outbound import served
from benchmarks.scratch import ROOT, copy_project
from flows.server.settings import USER
from pipeline_lib.core.progress import say

EVIL = "http://evil.example"
SOCKETS = ("events/in", "events/out", "logs/out")
NOBODY = 65534
SECONDS = 15  # in which the worker would have begun what it was asked for


def main() -> None:
    """Attack, print the line, and exit with 1 if anything succeeded or the UI does not work."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        project.mkdir()
        for folder in (project.parent, project):
            folder.chmod(0o755)  # another user may look, as in most homes
        copy_project(project, ROOT / "configs/small.yaml")
        (project / "prefect.yaml").write_bytes((ROOT / "prefect.yaml").read_bytes())
        secrets = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
        given = {name: value for name, value in flow_environment(project, None).items() if name not in secrets}
        with served(project, given) as address:
            home = project / ".graftline/prefect"
            password = f"{USER}:{(home / 'password').read_text(encoding='utf-8')}"
            target = Target(address, password, project)
            found = {**target.by_requests(), **target.by_sockets(), **by_another_user(home)}
            if BROWSER:
                found |= target.by_pages(BROWSER)
            works = ui_works(BROWSER, target) if BROWSER else None
            found |= target.carried_out()
    for name in (name for name, succeeded in found.items() if succeeded):
        say(f"succeeded: {name}")
    result = {"tried": len(found), "succeeded": sum(found.values()), "ui_works": works}
    print(json.dumps(result if BROWSER else {**result, "browser": None}))
    raise SystemExit(bool(result["succeeded"] or works is False))


class Target:
    """The server at ``address``, what a stranger could ask it for, and the traces that this would leave."""

    def __init__(self, address: str, password: str, folder: Path) -> None:
        self.address, self.password, self.traces = address, password, folder / "traces"
        self.traces.mkdir()
        name, _, secret = password.partition(":")
        self.owner = httpx.Client(base_url=f"{address}/api", auth=(name, secret), timeout=60)
        deployment = self.owner.get("/deployments/name/transfer/here").raise_for_status().json()
        step = {"prefect.deployments.steps.run_shell_script": {"script": self._trace("step")}}
        pool = {"work_pool_name": "graftline", "pull_steps": [step]}
        self.create = f"/api/deployments/{deployment['id']}/create_flow_run"
        self.run = {"job_variables": {"command": self._trace("command")}}
        self.step = {"name": "evil", "flow_id": deployment["flow_id"], "entrypoint": "flows.pipeline.transfer", **pool}

    def _trace(self, name: str) -> str:
        return f"touch {self.traces / name}"

    def by_requests(self) -> dict[str, bool]:
        """Ask over HTTP and say, by what was tried, whether it succeeded."""
        own, host = self.address, httpx.URL(self.address).netloc.decode()
        strangers = {
            "without the password": {"auth": None},
            "with a wrong password": {"auth": (USER, "guessed")},
            "from a page of another origin": {"Origin": EVIL, "auth": None},
            "from a page of another origin with the password": {"Origin": EVIL},
            "from a page of another port with the password": {"Origin": own.replace(host, "localhost:1")},
            "from a page without an origin with the password": {"Origin": "null"},
            "by another name with the password": {"Host": "evil.example", "Origin": EVIL},
            "by another name and this port with the password": {"Host": f"evil.example:{host.split(':')[1]}"},
        }
        asked = {
            "read the deployments": ("POST", "/api/deployments/filter", {}),
            "read the settings": ("GET", "/api/admin/settings", None),
            "read a report": ("GET", "/api/reports/", None),
            "run a command": ("POST", self.create, self.run),
            "make a deployment with a step": ("POST", "/api/deployments/", self.step),
        }
        found = {}
        for (who, how), (what, (method, path, body)) in product(strangers.items(), asked.items()):
            headers = {name: str(value) for name, value in how.items() if name != "auth"}
            known = how.get("auth", self.owner.auth)
            answer = httpx.request(method, own + path, json=body, headers=headers, auth=known, timeout=60)
            found[f"{what} {who}"] = answer.is_success
        preflight = {"Origin": EVIL, "Access-Control-Request-Method": "POST"}
        allowed = httpx.options(own + self.create, headers=preflight, timeout=60).headers
        found["be allowed to ask from another origin"] = "access-control-allow-origin" in allowed
        found["run a command with the password"] = self.owner.post(f"{own}{self.create}", json=self.run).is_success
        for page in ("/", "/enter", "/report/00000000-0000-0000-0000-000000000000"):
            shown = httpx.get(own + page, timeout=60).headers.get("X-Frame-Options")
            found[f"show {page} in a frame"] = shown != "DENY"
        return found

    def by_sockets(self) -> dict[str, bool]:
        """Open every websocket from elsewhere, or without the password, and say whether it was let in."""
        ways = {
            "without the password": (None, ""),
            "with a wrong password": (None, "guessed"),
            "from a page of another origin with the password": (EVIL, self.password),
            "from a page without an origin with the password": ("null", self.password),
        }
        found = {}
        for path, (who, (origin, token)) in product(SOCKETS, ways.items()):
            found[f"open {path} {who}"] = self.lets_in(path, origin, token)
        return found

    def lets_in(self, path: str, origin: str | None, token: str) -> bool:
        """Say whether the websocket at ``path`` takes ``token`` from a page of ``origin``, or from a program."""
        url = f"{self.address.replace('http', 'ws')}/api/{path}"
        protocols = [Subprotocol("prefect")]
        try:
            with connect(url, origin=Origin(origin) if origin else None, subprotocols=protocols, proxy=None) as socket:
                socket.send(json.dumps({"type": "auth", "token": token}))
                return json.loads(socket.recv(30))["type"] == "auth_success"
        except WebSocketException:
            return False

    def by_pages(self, browser: str) -> dict[str, bool]:
        """Let a page of another origin, and a name that was made to point to this machine, try in a browser."""
        data = {
            "base": self.address, "create": self.create, "deploy": "/api/deployments/",
            "password": self.password, "run": self.run, "step": self.step,
        }  # fmt: skip
        with served_page(PAGE.replace("DATA", json.dumps(data))) as port, tempfile.TemporaryDirectory() as profile:
            shown = dumped(browser, profile, f"http://evil.localhost:{port}/")
            by_name = dumped(browser, profile, self.address.replace("127.0.0.1", "evil.localhost"))
        tried = re.search(r"tried (\{.*\})", shown)
        if not tried:
            raise RuntimeError(f"the page did not come to its end: {shown}")
        found = {f"in a browser, a page of another origin {name}": done for name, done in json.loads(tried[1]).items()}
        return {**found, "in a browser, the UI is shown by another name": "<title>Prefect" in by_name}

    def carried_out(self) -> dict[str, bool]:
        """Give the worker time, and say whether anything that was asked for left a trace."""
        time.sleep(SECONDS)
        runs = self.owner.post("/flow_runs/filter", json={}).raise_for_status()
        deployments = self.owner.post("/deployments/filter", json={}).raise_for_status().json()
        left = [file.name for file in self.traces.iterdir()]
        return {
            "leave a run": any(run["deployment_id"] for run in runs.json()),
            "leave a deployment": any(deployment["name"] == "evil" for deployment in deployments),
            "carry out a command": "command" in left,
            "carry out a step": "step" in left,
        }


def by_another_user(home: Path) -> dict[str, bool]:
    """Read the password and the database as another user of this machine, which only root can try."""
    if os.geteuid():
        return {}
    tried = {}
    for file in ("password", "prefect.db", "server.url"):
        command = ["cat", str(home / file)]
        ended = subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False)
        tried[f"read {file} as another user"] = ended.returncode == 0
    return tried


def ui_works(browser: str, target: Target) -> bool:
    """Say whether the UI asks for the password, and shows a run to who came by the link."""
    name = "seen-in-the-ui"
    state = {"type": "COMPLETED", "name": "Completed"}
    flow = target.step["flow_id"]
    made = target.owner.post("/flow_runs/", json={"name": name, "flow_id": flow, "state": state}).raise_for_status()
    page = f"{target.address}/runs/flow-run/{made.json()['id']}"
    with tempfile.TemporaryDirectory() as profile:
        closed = dumped(browser, profile, page)
        dumped(browser, profile, f"{target.address}/enter#{target.password}")
        opened = dumped(browser, profile, page)
    return name not in closed and "Authentication failed" in closed and name in opened


if __name__ == "__main__":
    main()
