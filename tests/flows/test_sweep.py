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


@pytest.fixture(autouse=True)
def started(tmp_path, monkeypatch):
    """The folder in which every stage that is started leaves a line, wherever it runs."""
    folder = tmp_path / "starts"
    folder.mkdir()
    monkeypatch.setenv("STARTS", str(folder))
    return folder


@pytest.fixture
def sweep(api, monkeypatch):
    """Run a sweep in the project in the working directory."""
    monkeypatch.setenv("PREFECT_API_URL", api)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
        with temporary_settings({PREFECT_API_URL: api}):
            main()

    return run


def executed(started, *stages):
    """How often each stage was started."""
    files = {stage: started / f"starts-{stage}" for stage in stages}
    return {stage: len(file.read_text().splitlines()) if file.exists() else 0 for stage, file in files.items()}


def places(project):
    return [path for path in project.glob(".graftline/worktrees/sweeps/*") if path.is_dir()]


def experiments(project):
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    shown = json.loads(subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout)
    return {
        found["name"]: found["revs"][0]["data"]["metrics"]["metrics/join.json"]["data"]["letters"]
        for baseline in shown
        for found in baseline["experiments"] or []
    }


def test_a_sweep_runs_each_different_stage_once_and_records_every_combination(sweep, finished, started, capsys):
    sweep(*SETS, "--metric", METRIC, "--name", "trial")
    assert "trial: 4 combinations of 5 stages, 9 different stages to run" in capsys.readouterr().out
    # What the workspace has run already is restored.
    once = {"start": 0, "alone": 0, "right": 0, "left": 1, "join": 4}
    assert executed(started, *once) == once
    found = experiments(finished)
    assert len(found) == 4
    assert all(name.startswith("trial-epochs_") for name in found)
    assert len(set(found.values())) == 4
    page = (finished / "reports/sweeps/trial.html").read_text()
    assert "Best is heads.epochs = 20, report.title = bcd" in page
    sweep(*SETS, "--metric", METRIC, "--name", "trial")
    assert executed(started, *once) == once, "a sweep that is done runs nothing"
    assert experiments(finished) == found
    assert not places(finished)


def test_a_sweep_over_lists_runs_each_seed_and_dataset_once(sweep, grouped, started, monkeypatch):
    monkeypatch.delenv("STARTS")
    repro(grouped)
    monkeypatch.setenv("STARTS", str(started))
    values = ("--set", "seeds=[0],[1, 2],[0, 2]", "--set", "datasets.digits.content=16,12")
    sweep(*values, "--metric", "metrics/judge.json:letters", "--name", "lists")
    # What the workspace has run already is restored.
    once = {"ingest-mnist": 0, "ingest-digits": 1, "train-0": 0, "train-1": 0, "train-2": 1, "judge": 6}
    assert executed(started, *once) == once
    page = (grouped / "reports/sweeps/lists.html").read_text()
    assert "[1, 2]" in page


def test_a_metric_that_only_some_combinations_leave_is_refused(sweep, grouped):
    with pytest.raises(UserError, match=r"must be one of metrics/train/1\.json, metrics/judge\.json, a colon"):
        sweep("--set", "seeds=[0, 1],[1]", "--metric", "metrics/train/0.json:letters")


def test_a_sweep_goes_on_where_it_failed(sweep, finished, started):
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
    assert places(finished), "someone may want to look"
    done = executed(started, "join")["join"]
    edit(finished, json.dumps(refuse), "python toy.py  join", "dvc.yaml")
    subprocess.run(["git", "commit", "-qam", "mended"], cwd=finished, check=True)
    sweep(*SETS, "--metric", METRIC, "--name", "trial")
    assert executed(started, "join", "left") == {"join": done + 4, "left": 1}, "the command of all of them changed"


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
    edit(finished, "python toy.py join", "python toy.py  join", "dvc.yaml")
    sweep("--set", "seed=0,1", "--metric", METRIC, "--allow-edits", "--name", "clean")
    command = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(command, cwd=finished, capture_output=True, text=True, check=True).stdout.strip()
    for name in experiments(finished):
        show = ["git", "show", f"refs/exps/{head[:2]}/{head[2:]}/{name}:params.yaml"]
        assert "title: toy" in subprocess.run(show, cwd=finished, capture_output=True, text=True, check=True).stdout
