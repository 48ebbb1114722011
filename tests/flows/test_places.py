import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml

from flows.repo.lockfile import LOCK_FILE
from flows.sweep.experiments import locked_text, read_scores, save, saved
from flows.sweep.grid import text_with_values
from flows.sweep.places import clear_places, place
from flows.sweep.plan import commit_of
from flows.sweep.stage import Work, checked_record, run_work
from pipeline_lib.core.errors import UserError
from tasks.stage import CHECKPOINTS
from tests.flows.conftest import PARAMS, edit


def commit(project):
    subprocess.run(["git", "add", "-A"], cwd=project, check=True)
    subprocess.run(["git", "commit", "-q", "-m", "more"], cwd=project, check=True)
    return commit_of()


def dvc(*arguments):
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True)


def test_a_place_has_what_is_committed_and_nothing_of_another_combination(finished):
    Path("images").mkdir()
    Path("images/one.txt").write_text("one")
    dvc("add", "-q", "images")
    head = commit(finished)
    with place(head, PARAMS + "# first\n") as folder:
        assert (folder / "params.yaml").read_text().endswith("# first\n")
        for left in ("out/train/5.txt", "out/.gitignore", "stray.txt"):
            (folder / left).parent.mkdir(parents=True, exist_ok=True)
            (folder / left).write_text("left")
        (folder / LOCK_FILE).write_text("schema: '2.0'\nstag")  # killed in the middle
        (folder / ".dvc/tmp/rwlock").write_text("{")
    with place(head, PARAMS) as again:
        assert again == folder
        assert (again / "params.yaml").read_text() == PARAMS
        assert not [left for left in ("out/train", "out/left.txt", "stray.txt") if (again / left).exists()]
        assert (again / "images/one.txt").read_text() == "one", "data that DVC tracks belongs to the commit"
        assert (again / LOCK_FILE).read_bytes() == Path(LOCK_FILE).read_bytes()
        assert not (again / ".dvc/tmp/rwlock").exists()


def test_places_are_taken_in_turn_and_share_the_checkpoints_of_the_clone(finished):
    head = commit(finished)
    with place(head, PARAMS) as first, place(head, PARAMS) as second:
        assert first != second
        (first / CHECKPOINTS / "left").mkdir()
        assert (second / CHECKPOINTS / "left").is_dir()
        clear_places()
        assert first.is_dir(), "someone is at work there"
    clear_places()
    assert not first.exists()
    assert not second.exists()
    assert (CHECKPOINTS / "left").is_dir(), "a stage that was stopped goes on"
    listed = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == 1


def test_an_experiment_is_what_dvc_would_have_saved(finished):
    edit(finished, "metrics: [metrics/join.json]", "metrics: [metrics/join.json: {cache: false}]", "dvc.yaml")
    Path("metrics/.gitignore").unlink()
    head = commit(finished)
    text = text_with_values(PARAMS, {"report.title": "other"})
    outs = ("out/join.txt", "metrics/join.json")
    state, record = run_work(Work("join", head, text, outs, None), print, {})
    assert state.is_completed()
    assert set(record["files"]) == {"metrics/join.json"}, "what git has"
    locked = load_yaml(str(LOCK_FILE))["stages"] | {"join": record["lock"]}
    save(head, "trial-one", text, [locked_text(stage, entry) for stage, entry in locked.items()], record["files"])
    found = saved(head, "trial-")
    assert found == {"trial-one": locked}
    scores = read_scores(head, found, "metrics/join.json", "letters")
    dvc("exp", "apply", "trial-one")
    assert Path("params.yaml").read_text() == text
    assert "other" in Path("out/join.txt").read_text()
    assert scores == {"trial-one": len(Path("out/join.txt").read_text())}
    with pytest.raises(UserError, match=r"names lettres, which is not in .*letters"):
        read_scores(head, found, "metrics/join.json", "lettres")


WORK = Work("join", "0", "", ("out/join.txt", "plots"), None)


@pytest.mark.parametrize(
    "record", [None, [], {}, {"lock": {"cmd": 1, "no": 2}, "files": {}}, {"lock": None, "files": 3}]
)
def test_what_is_no_record_of_a_stage_is_refused(record):
    with pytest.raises(UserError, match="no record of a stage"):
        checked_record(record, WORK)


@pytest.mark.parametrize("path", ["params.yaml", "../out/join.txt", "plots/../dvc.yaml", "/etc/passwd", ".git/config"])
def test_a_file_that_is_not_the_stages_own_is_refused(path):
    with pytest.raises(UserError, match="which is not among its outputs"):
        checked_record({"lock": None, "files": {path: "YQ=="}}, WORK)


def test_a_record_passes_as_it_is():
    record = {"lock": {"cmd": "x", "outs": [{"path": "plots"}]}, "files": {"plots/a.png": "YQ=="}}
    assert checked_record(record, WORK) == record
