import os
import shutil
import socket
import subprocess
import sys

import pytest

from flows.repo.plan import describe, read_plan
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import ROOT, depend, edit, repro, starts

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
    command = [sys.executable, "-m", "flows.repo.plan"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=finished, env=environment, capture_output=True, text=True, check=True)
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


def test_data_that_dvc_tracks_comes_before_the_stages(finished):
    (finished / "images").mkdir()
    (finished / "images/one.txt").write_text("one")
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "images"], cwd=finished, check=True)
    depend(finished, "toy.py", "images")
    plan = {stage.name: stage for stage in read_plan()}
    assert plan["start"].upstream == ("images.dvc",)
    assert [name for name, stage in plan.items() if not stage.own] == ["images.dvc"]
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
