"""The benchmarks of the flow: that they count what they say they count, and that they run."""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.graphs import finish, layered, lost_entries, make_project, parallel, set_seed
from benchmarks.outbound import heard, is_local, listen, read_pages
from benchmarks.parallel_stages import not_completed
from benchmarks.scratch import ROOT
from flows.repo.plan import read_plan


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A finished project of 12 stages in layers of 4."""
    folder = make_project(tmp_path_factory.mktemp("graph") / "project", layered(12, 4))
    finish(folder)
    return folder


def test_a_made_up_graph_can_be_planned_and_finished(project, monkeypatch):
    monkeypatch.chdir(project)
    plan = {stage.name: stage for stage in read_plan()}
    assert len(plan) == 12
    assert plan["stage0"].upstream == ()
    assert plan["stage7"].upstream == ("stage0", "stage3")
    assert plan["stage8"].upstream == ("stage4", "stage5")
    assert {stage.prediction for stage in plan.values()} == {"cached"}


def test_stages_side_by_side_need_none_of_each_other():
    made = {out for stage in parallel(16).values() for out in stage["outs"]}
    assert len(made) == 16
    assert all(made.isdisjoint(stage["deps"]) for stage in parallel(16).values())


def test_a_lost_entry_is_counted(project):
    lock = project / "dvc.lock"
    before = lock.read_text()
    assert lost_entries(project) == []
    head, _, rest = before.partition("  stage5:\n")
    lock.write_text(head + rest[rest.index("  stage6:\n") :])
    assert lost_entries(project) == ["stage5"]
    lock.unlink()
    assert len(lost_entries(project)) == 12
    lock.write_text(before)


def test_an_entry_of_another_output_or_seed_is_counted(project):
    output = project / "out/stage11.txt"
    before = output.read_text()
    output.write_text("edited")
    assert lost_entries(project) == ["stage11"]
    output.write_text(before)
    set_seed(project, 1)
    assert len(lost_entries(project)) == 12
    set_seed(project, 0)
    assert lost_entries(project) == []


def test_a_stage_that_did_not_complete_is_counted():
    states = {"a": "Completed", "b": "Failed", "c": "Running"}
    assert not_completed("abcd", states) == {"b": "Failed", "c": "Running", "d": "never ran"}


CALLS = """
import socket, sys
def tried(call, *arguments):
    try: call(*arguments)
    except OSError: pass
{tries}
"""


@pytest.mark.parametrize(
    ("tries", "host"),
    [
        ("tried(socket.getaddrinfo, 'example.org', 443)", "example.org"),
        ("s = socket.socket(); s.settimeout(0.1); tried(s.connect, ('192.0.2.1', 9))", "192.0.2.1"),
        ("s = socket.socket(type=socket.SOCK_DGRAM); tried(s.sendto, b'', ('192.0.2.1', 9))", "192.0.2.1"),
        ("s = socket.socket(); s.settimeout(0.1); tried(s.connect, ('127.0.0.1', 1))", None),
        ("import asyncio; tried(asyncio.run, asyncio.open_connection('example.org', 443))", "example.org"),
    ],
)
def test_a_call_from_the_child_of_a_child_is_heard(tmp_path, tries, host):
    log, environment = listen(tmp_path / "hook", os.environ)
    run = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    subprocess.run([sys.executable, "-c", run, CALLS.format(tries=tries)], env=environment, check=True)
    calls = heard(log)
    assert calls
    assert {call["host"] for call in calls if not is_local(call["host"])} == ({host} if host else set())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "/run/a.sock", None, ""])
def test_this_machine_is_not_outbound(host):
    assert is_local(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "api.prefect.io", "1127.0.0.1", "localhost.example.org", "fe80::1"])
def test_others_are_outbound(host):
    assert not is_local(host)


def test_what_a_page_loads_from_elsewhere_is_counted(tmp_path):
    (tmp_path / "index.html").write_text(
        '<a href="/own.html"></a><script src="https://cdn.example.org/a.js"></script><link href="style.css">'
    )
    (tmp_path / "own.html").write_text("<img src='http://images.example.org/b.png'>")
    (tmp_path / "style.css").write_text("@font-face {src: url(//fonts.example.org/c.woff)}")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=tmp_path)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        pages, away = read_pages(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
    assert pages == 3
    assert away == [
        "http://fonts.example.org/c.woff", "http://images.example.org/b.png", "https://cdn.example.org/a.js"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("command", "zeros"),
    [
        (("benchmarks.outbound",), {"connections"}),
        (("benchmarks.parallel_stages", "--stages", "16", "--rounds", "2"), {"failed", "lost"}),
    ],
)
def test_the_flow_calls_nobody_and_loses_nothing(command, zeros):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    result = json.loads(done.stdout.splitlines()[-1])
    assert {name: result[name] for name in zeros} == dict.fromkeys(zeros, 0)
    assert done.returncode == 0
