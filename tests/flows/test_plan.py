import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from dvc.dependency import Dependency

from flows.repo.plan import describe, read_plan, records
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import ROOT, depend, edit, repro, starts, track_images
from tests.flows.odd import PROJECTS, write

PLAN = [sys.executable, "-m", "flows.repo.plan"]
STAGES = {"start", "left", "right", "join", "alone"}


def predictions(plan):
    return {stage.name: stage.prediction for stage in plan}


def test_a_stage_comes_after_everything_it_needs(project):
    plan = read_plan()
    names = [stage.name for stage in plan]
    assert set(names) == STAGES
    assert all(names.index(above) < names.index(stage.name) for stage in plan for above in stage.upstream)
    assert {stage.name: stage.upstream for stage in plan}["join"] == ("left", "right")


def test_a_new_project_runs_everything(project):
    plan = read_plan()
    assert set(predictions(plan).values()) == {"will run"}
    assert all(stage.reasons == ("it has not run yet",) for stage in plan)
    assert describe(plan)[0] == "plan: 5 stages, 0 cached, 5 will run"


def test_a_finished_project_runs_nothing(finished):
    assert predictions(read_plan()) == dict.fromkeys(STAGES, "cached")


@pytest.mark.parametrize(
    ("old", "new", "file", "stage", "reason"),
    [
        ("epochs: 1", "epochs: 2", "params.yaml", "left", "'heads.epochs' in params.yaml changed"),
        ("toy.py right", "toy.py  right", "dvc.yaml", "right", "its command changed"),
    ],
)
def test_what_changed_is_told_and_reaches_what_follows(finished, old, new, file, stage, reason):
    edit(finished, old, new, file)
    plan = {planned.name: planned for planned in read_plan()}
    assert plan[stage].reasons == (reason,)
    assert f"{stage} runs first" in plan["join"].reasons
    assert {name for name in STAGES if plan[name].prediction == "will run"} == {stage, "join"}


def test_a_result_that_dvc_has_is_foretold(finished):
    edit(finished, "epochs: 1", "epochs: 2", "params.yaml")
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=finished, check=True)
    edit(finished, "epochs: 2", "epochs: 1", "params.yaml")
    plan = {planned.name: planned for planned in read_plan()}
    assert predictions(plan.values()) == {**dict.fromkeys(STAGES, "cached"), "left": "restored", "join": "will run"}
    assert plan["join"].reasons == ("left is restored first",)
    assert describe(tuple(plan.values()))[0] == "plan: 5 stages, 3 cached, 1 restored, 1 will run"
    said = subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=finished, check=True, capture_output=True)
    assert b"Stage 'left' is cached - skipping run" in said.stdout


def test_the_plan_can_be_printed(finished):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(PLAN, cwd=finished, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == describe(read_plan())


def test_code_is_an_input_of_every_stage(finished):
    with (finished / "toy.py").open("a") as file:
        file.write("# edited\n")
    assert all("toy.py changed" in stage.reasons for stage in read_plan())


def test_lost_outputs_are_told(finished):
    (finished / "out/join.txt").unlink()
    edit(finished, "right", "x", "out/right.txt")
    plan = {stage.name: stage for stage in read_plan()}
    assert plan["join"].reasons == ("out/right.txt changed", "its output out/join.txt is gone")
    assert plan["right"].reasons == ("its output out/right.txt changed",)
    assert plan["right"].prediction == "restored"


def test_planning_runs_nothing(project):
    read_plan()
    assert not any(starts(project, stage) for stage in STAGES)
    assert not (project / "dvc.lock").exists()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda project: depend(project, "no/images"), "no/images is missing.*'start'"),
        (lambda project: shutil.rmtree(project / ".dvc"), "not a DVC repository"),
        (lambda project: (project / "dvc.yaml").write_text("stages: ["), r"dvc\.yaml, line 1: not valid YAML"),
        (lambda project: (project / "dvc.yaml").write_text(""), r"dvc\.yaml is empty"),
        (lambda project: (project / "params.yaml").write_bytes(b"\xff"), r"params\.yaml, line 1: not UTF-8"),
        (lambda project: depend(project, "out/join.txt"), "cannot plan the run.*dependency and an output"),
    ],
)  # fmt: skip
def test_a_broken_project_is_one_sentence(project, damage, sentence):
    damage(project)
    with pytest.raises(UserError, match=sentence) as error:
        read_plan()
    assert "\n" not in str(error.value)


def test_stages_of_datasets_and_seeds_have_their_addresses(grouped):
    plan = {stage.name: stage for stage in read_plan()}
    assert set(plan) == {"ingest@mnist", "ingest@digits", "train@0", "train@1", "judge"}
    assert plan["train@1"].upstream == ("ingest@mnist",)
    assert plan["train@1"].metrics == ("metrics/train/1.json",)
    assert set(plan["judge"].upstream) == {"ingest@mnist", "ingest@digits", "train@0", "train@1"}
    repro(grouped)
    edit(grouped, "content: 16", "content: 12")
    assert {stage.name for stage in read_plan() if stage.prediction == "will run"} == {"ingest@digits", "judge"}
    edit(grouped, "seeds: [0, 1]", "seeds: [0, 1, 2]")
    assert predictions(read_plan())["train@2"] == "will run"


@pytest.mark.parametrize("tracked_by", ["add", "import-url"])
def test_data_that_dvc_tracks_comes_before_the_stages(tracked_by, finished, tmp_path):
    track_images(finished, tmp_path / "elsewhere", tracked_by)
    depend(finished, "toy.py", "images")
    plan = {stage.name: stage for stage in read_plan()}
    assert plan["start"].upstream == ("images.dvc",)
    assert [name for name, stage in plan.items() if not stage.record] == ["images.dvc"]
    assert plan["images.dvc"].prediction == "cached"


def test_what_dvc_would_wait_for_without_an_end_is_refused(finished):
    (finished / "images/deep").mkdir(parents=True)
    depend(finished, "toy.py", "images")
    odd = finished / "images/deep/odd"

    def refused(what):
        with pytest.raises(UserError, match=f"images/deep/.* {what}, so DVC cannot track it: remove it"):
            read_plan()

    os.mkfifo(odd)
    refused("is a named pipe")
    with (finished / ".dvcignore").open("a") as file:
        file.write("odd\n")
    read_plan()
    edit(finished, "odd\n", "", ".dvcignore")
    odd.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("images/deep/odd")
        refused("is a socket")
    odd.unlink()
    odd.symlink_to("nowhere")
    refused("is a link to nothing")
    odd.unlink()
    (finished / "images/deep" / os.fsdecode(b"\xff.png")).touch()
    refused("has a name that is not UTF-8")


def test_an_output_that_could_not_be_put_in_its_place_is_told(finished, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "metrics")  # root may write anywhere
    with pytest.raises(UserError, match=r"folder metrics cannot be written to, where metrics/join\.json belongs"):
        read_plan()


@pytest.mark.parametrize("name", PROJECTS)
def test_whatever_dvc_allows_is_planned(project, name):
    write(project, PROJECTS[name])
    plan = read_plan()
    assert {stage.prediction for stage in plan} == {"will run"}
    assert all(stage.reasons for stage in plan)


def test_what_a_folder_of_its_own_makes_comes_first_and_what_nobody_needs_is_left_alone(project):
    write(project, PROJECTS["a folder with stages of its own"])
    plan = {stage.name: stage for stage in read_plan()}
    assert list(plan) == ["sub/dvc.yaml:a", "sub/dvc.yaml:b", "user"]
    assert plan["user"].upstream == ("sub/dvc.yaml:b",)
    assert plan["sub/dvc.yaml:b"].deps == ("sub/a.txt",)
    assert {str(file): names for file, names in records(plan.values()).items()} == {
        "sub/dvc.lock": ["a", "b"],
        "dvc.lock": ["user"],
    }


def test_paths_of_a_working_directory_are_those_of_the_root(project):
    write(project, PROJECTS["a working directory"])
    (stage,) = read_plan()
    assert (stage.deps, stage.outs) == (("inner/in.txt",), ("inner/out.txt",))


def test_a_parameter_that_is_missing_in_another_file_is_refused(project):
    write(project, PROJECTS["parameters of other files"])
    (project / "o.toml").write_text("[a]\nc = 1\n")
    with pytest.raises(UserError, match=r"o\.toml: the key 'a\.b' is missing, which dvc\.yaml lists under"):
        read_plan()


@pytest.fixture
def web():
    """A server with one file, and its address; the file is ``content[0]``."""
    content = [b"first"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("ETag", content[0].decode())
            self.send_header("Content-Length", str(len(content[0])))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[0])

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/file", content
    server.shutdown()
    server.server_close()


def test_what_lies_on_a_server_is_a_dependency(project, web):
    url, content = web
    stage = {"cmd": "echo 1 > web.txt", "deps": [url], "outs": ["web.txt"]}
    (project / "dvc.yaml").write_text(json.dumps({"stages": {"web": stage}}))
    assert predictions(read_plan()) == {"web": "will run"}
    repro(project)
    assert predictions(read_plan()) == {"web": "cached"}
    content[0] = b"second"
    assert read_plan()[0].reasons == (f"{url} changed",)


def test_a_server_that_cannot_be_reached_stops_no_plan(project, web, monkeypatch):
    url, _ = web
    stages = {"web": {"cmd": "echo 1 > web.txt", "deps": [url], "outs": ["web.txt"]}}
    stages["beside"] = {"cmd": "echo 2 > beside.txt", "deps": ["toy.py"], "outs": ["beside.txt"]}
    (project / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    repro(project)
    status = Dependency.workspace_status

    def away(dep):
        return {str(dep): "deleted"} if str(dep) == url else status(dep)

    def forbidden(dep):
        if str(dep) == url:
            raise RuntimeError("no\ncredentials")  # each storage has errors of its own
        return status(dep)

    for stand_in, reason in (
        (away, "is gone, or cannot be reached"),
        (forbidden, "cannot be looked at (no credentials)"),
    ):
        monkeypatch.setattr(Dependency, "workspace_status", stand_in)
        plan = {stage.name: stage for stage in read_plan()}
        assert plan["web"].reasons == (f"{url} {reason}",)
        assert predictions(plan.values()) == {"web": "will run", "beside": "cached"}


def test_a_storage_for_which_dvc_lacks_a_package_is_one_sentence(project):
    depend(project, "'s3://bucket/images'")
    with pytest.raises(UserError, match="DVC cannot plan the run: s3 is supported, but requires 'dvc-s3'"):
        read_plan()
