import json
import subprocess
import sys

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.sweep import cli as module
from flows.sweep.cli import main
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import edit, repro

METRIC = "metrics/join.json:letters"
SETS = ("--set", "heads.epochs=1,20", "--set", "report.title=a,bcd")


@pytest.fixture
def sweep(api, monkeypatch):
    """Run a sweep in the project in the working directory."""
    monkeypatch.setenv("PREFECT_API_URL", api)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
        with temporary_settings({PREFECT_API_URL: api}):
            main()

    return run


def executed(project, stage):
    """How often a stage was started in all worktrees of sweeps."""
    files = project.glob(f".graftline/worktrees/sweeps/*/*/starts-{stage}")
    return sum(len(file.read_text().splitlines()) for file in files)


def experiments(project):
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    shown = json.loads(subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout)
    return {
        found["name"]: found["revs"][0]["data"]["metrics"]["metrics/join.json"]["data"]["letters"]
        for baseline in shown
        for found in baseline["experiments"] or []
    }


def test_a_sweep_runs_each_different_stage_once_and_records_every_combination(sweep, finished, capsys):
    sweep(*SETS, "--metric", METRIC, "--name", "trial")
    assert "trial: 4 combinations of 5 stages, 9 different stages to run" in capsys.readouterr().out
    # What the workspace has run already is restored.
    assert {stage: executed(finished, stage) for stage in ("start", "alone", "right", "left", "join")} == {
        "start": 0, "alone": 0, "right": 0, "left": 1, "join": 4
    }  # fmt: skip
    found = experiments(finished)
    assert len(found) == 4
    assert all(name.startswith("trial-epochs_") for name in found)
    assert len(set(found.values())) == 4
    page = (finished / "reports/sweeps/trial.html").read_text()
    assert "Best is heads.epochs = 20, report.title = bcd" in page
    sweep(*SETS, "--metric", METRIC, "--name", "trial")
    assert executed(finished, "join") == 4, "a sweep that is done runs nothing"
    assert experiments(finished) == found


def test_a_sweep_over_lists_runs_each_seed_and_dataset_once(sweep, grouped):
    repro(grouped)
    values = ("--set", "seeds=[0],[1, 2],[0, 2]", "--set", "datasets.digits.content=16,12")
    sweep(*values, "--metric", "metrics/judge.json:letters", "--name", "lists")
    names = ("ingest-mnist", "ingest-digits", "train-0", "train-1", "train-2", "judge")
    # What the workspace has run already is restored.
    assert {name: executed(grouped, name) for name in names} == {
        "ingest-mnist": 0, "ingest-digits": 1, "train-0": 0, "train-1": 0, "train-2": 1, "judge": 6
    }  # fmt: skip
    page = (grouped / "reports/sweeps/lists.html").read_text()
    assert "[1, 2]" in page


def test_a_metric_that_only_some_combinations_leave_is_refused(sweep, grouped):
    with pytest.raises(UserError, match=r"must be one of metrics/train/1\.json, metrics/judge\.json, a colon"):
        sweep("--set", "seeds=[0, 1],[1]", "--metric", "metrics/train/0.json:letters")


def test_a_sweep_goes_on_where_it_failed(sweep, finished, capsys):
    subprocess.run(["git", "add", "-A"], cwd=finished, check=True)
    refuse = "if grep -q bcd params.yaml; then echo 'error: mend it' >&2; exit 2; fi; python toy.py join"
    edit(finished, "python toy.py join", json.dumps(refuse), "dvc.yaml")
    subprocess.run(["git", "commit", "-qam", "breaks"], cwd=finished, check=True)
    with pytest.raises(UserError, match="mend it"):
        sweep(*SETS, "--metric", METRIC, "--name", "trial")
    assert len(experiments(finished)) == 2, "what can go on does"
    page = (finished / "reports/sweeps/trial.html").read_text()
    assert "not run" in page
    assert "mend it" in page
    done = executed(finished, "join")
    edit(finished, json.dumps(refuse), "python toy.py  join", "dvc.yaml")
    subprocess.run(["git", "commit", "-qam", "mended"], cwd=finished, check=True)
    sweep(*SETS, "--metric", METRIC, "--name", "trial")
    assert executed(finished, "join") == done + 4, "the command of all of them changed"
    assert executed(finished, "left") == 1


def test_the_best_is_promoted_on_request(sweep, finished):
    sweep("--set", "report.title=a,bcd", "--set", "seed=0,1", "--metric", METRIC, "--min", "--promote")
    params = (finished / "params.yaml").read_text()
    assert "title: a\n" in params
    assert "seed: 0" in params
    best = min(experiments(finished).values())
    assert json.loads((finished / "metrics/join.json").read_text())["letters"] == best


def test_a_plan_runs_nothing(sweep, finished, capsys, monkeypatch):
    monkeypatch.setattr(module, "api", lambda: pytest.fail("a server was asked for"))
    sweep(*SETS, "--plan")
    assert len(capsys.readouterr().out.splitlines()) == 1 + 4
    assert not (finished / ".graftline/worktrees").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--set", "heads.epoch=1,2", "--metric", METRIC), "unknown key 'heads.epoch'"),
        (("--set", "seed=0,1", "--metric", "metrics/joint.json:letters"), "must be one of metrics/join.json"),
        (("--set", "seed=0,1", "--metric", METRIC, "--name", "../x"), "--name is '../x'"),
        (("--set", "seed=0,1", "--metric", METRIC, "--runner", "ray"), "pip install prefect-ray"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(sweep, finished, monkeypatch, arguments, sentence):
    monkeypatch.setitem(sys.modules, "prefect_ray", None)
    with pytest.raises(UserError, match=sentence):
        sweep(*arguments)
    assert not (finished / ".graftline/worktrees").exists()


def test_a_sweep_without_a_name_in_git_is_refused(sweep, finished, monkeypatch):
    monkeypatch.setenv("HOME", str(finished))
    subprocess.run(["git", "config", "--unset", "user.email"], cwd=finished, check=True)
    with pytest.raises(UserError, match="git does not know who you are"):
        sweep("--set", "seed=0,1", "--plan")


def test_edits_that_are_not_committed_are_refused_or_left_out(sweep, finished, capsys):
    edit(finished, "title: toy", "title: edited")
    with pytest.raises(UserError, match=r"but params\.yaml has edits"):
        sweep("--set", "seed=0,1", "--plan")
    sweep("--set", "seed=0,1", "--metric", METRIC, "--allow-edits", "--name", "clean")
    assert all(
        "title: toy" in file.read_text() for file in finished.glob(".graftline/worktrees/sweeps/clean/*/params.yaml")
    )
