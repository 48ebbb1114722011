import subprocess
import sys
from pathlib import Path

import pytest

from flows.machine.lock import hold
from flows.repo.worktree import worktree
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import edit, repro, starts


def commit(project):
    subprocess.run(["git", "add", "-A"], cwd=project, check=True)
    subprocess.run(["git", "commit", "-q", "-m", "more"], cwd=project, check=True)


def dvc(project, *arguments):
    ended = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=project, check=True, capture_output=True)
    return ended.stdout.decode().strip()


def test_a_worktree_runs_what_is_committed_with_the_results_of_all(finished):
    edit(finished, "title: toy", "title: edited")
    path = worktree("nightly")
    assert path.is_absolute()
    assert "title: toy" in (path / "params.yaml").read_text()
    assert "title: edited" in Path("params.yaml").read_text(), "nobody's edits are disturbed"
    repro(path)
    assert not (path / "starts-join").exists(), "what this repository has run is restored"
    assert (path / "out/join.txt").exists()


def test_a_worktree_follows_the_commits_and_keeps_what_is_up_to_date(finished):
    path = worktree("nightly")
    repro(path)
    (path / "params.yaml").write_text("stray")
    edit(finished, "title: toy", "title: other")
    commit(finished)
    assert worktree("nightly") == path
    assert "title: other" in (path / "params.yaml").read_text()
    repro(path)
    assert starts(path, "join") == 1
    worktree("nightly", "HEAD~1")
    assert "title: toy" in (path / "params.yaml").read_text()


def test_data_that_dvc_tracks_and_a_remote_nearby_are_found(finished):
    Path("images").mkdir()
    Path("images/one.txt").write_text("one")
    dvc(finished, "add", "-q", "images")
    dvc(finished, "remote", "add", "-q", "-d", "shared", "../shared")
    commit(finished)
    path = worktree("a/b")
    assert (path / "images/one.txt").read_text() == "one"
    assert dvc(path, "remote", "list").split()[:2] == ["shared", str(finished.parent / "shared")]


def test_a_worktree_at_work_is_left_alone(finished):
    path = worktree("nightly")
    with hold(path / ".graftline/flow.lock", "taken"), pytest.raises(UserError, match="another run is at work"):
        worktree("nightly")


@pytest.mark.parametrize(
    ("name", "at", "sentence"),
    [("nightly", "nope", "git knows no commit 'nope'"), ("../up", "HEAD", "cannot be the name")],
)
def test_what_cannot_be_is_refused(finished, name, at, sentence):
    with pytest.raises(UserError, match=sentence):
        worktree(name, at)


def test_a_folder_without_git_or_dvc_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="not a git repository"):
        worktree("nightly")
    subprocess.run(["git", "init", "-q"], check=True)
    with pytest.raises(UserError, match="git knows no commit 'HEAD': commit something"):
        worktree("nightly")
    who = ["-c", "user.name=toy", "-c", "user.email=toy@localhost"]
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    with pytest.raises(UserError, match="not the root of a DVC repository"):
        worktree("nightly")
