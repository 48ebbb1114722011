import os
import shutil
import subprocess
import sys

import pytest

from flows.plan import describe, read_plan
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import ROOT, edit, starts

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
    command = [sys.executable, "-m", "flows.plan"]
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
        (lambda project: edit(project, "deps: [toy.py]\n    outs: [out/start.txt]", "deps: [no/images]\n    "
                              "outs: [out/start.txt]", "dvc.yaml"), "no/images is missing.*'start'"),
        (lambda project: shutil.rmtree(project / ".dvc"), "not a DVC repository"),
        (lambda project: (project / "dvc.yaml").write_text("stages: ["), "DVC cannot plan the run"),
        (lambda project: edit(project, "deps: [toy.py]\n    outs: [out/start.txt]", "deps: [out/join.txt]\n    "
                              "outs: [out/start.txt]", "dvc.yaml"), "cannot plan the run.*dependency and an output"),
    ],
)  # fmt: skip
def test_a_broken_project_is_one_sentence(project, damage, sentence):
    damage(project)
    with pytest.raises(UserError, match=sentence) as error:
        read_plan()
    assert "\n" not in str(error.value)
